"""The names of intervals and markets in UDF."""

from __future__ import annotations

from config.registry import Entry
from serving.market_data.amounts import decimals
from serving.market_data.intervals import INTERVALS, MONTH, Interval

DECIMALS = 8
_DAY = 86_400


def _resolution(interval: Interval) -> str:
    """The name of an interval: minutes as a number, else days, weeks or months (`3D`, `1W`, `1M`)."""
    if interval.seconds and interval.seconds < _DAY:
        return str(interval.seconds // 60)
    return interval.code if interval.code == MONTH else interval.code.upper()


# Intervals by UDF's name.
RESOLUTIONS = {_resolution(interval): interval for interval in INTERVALS.values()}
# The same, also by `D`, `W` and `M`, which stand for 1D, 1W and 1M.
BY_NAME = RESOLUTIONS | {name[1:]: interval for name, interval in RESOLUTIONS.items() if name in {"1D", "1W", "1M"}}


def ticker(exchange: str, entry: Entry) -> str:
    """A market's full name, `KRAKEN:BTCUSD`."""
    return f"{exchange.upper()}:{entry.canonical}"


def description(exchange: str, entry: Entry) -> str:
    """A market in words: `BTC/USD · kraken`."""
    return f"{entry.base}/{entry.quote} · {exchange}"


def price_step(entry: Entry) -> tuple[int, int]:
    """`minmov` and `pricescale`, whose ratio is the smallest step of the price; 8 decimals if the step is unknown."""
    if entry.tick is None:
        return 1, 10**DECIMALS
    scale: int = 10 ** decimals(entry.tick)
    return int(entry.tick * scale), scale
