"""What UDF calls intervals and markets."""

from __future__ import annotations

from decimal import Decimal

from config.registry import Entry
from serving.market_data.intervals import INTERVALS, MONTH, Interval

DECIMALS = 8
_DAY = 86_400


def _resolution(interval: Interval) -> str:
    """The name of an interval: minutes as a number, else days, weeks or months (`3D`, `1W`, `1M`)."""
    if interval.seconds and interval.seconds < _DAY:
        return str(interval.seconds // 60)
    return interval.code if interval.code == MONTH else interval.code.upper()


#: Intervals by UDF's name.
RESOLUTIONS = {_resolution(interval): interval for interval in INTERVALS.values()}
# `D` is 1D.
BY_NAME = RESOLUTIONS | {name[1:]: interval for name, interval in RESOLUTIONS.items() if name in {"1D", "1W", "1M"}}


def ticker(exchange: str, entry: Entry) -> str:
    """A market's full name, `KRAKEN:BTCUSD`."""
    return f"{exchange.upper()}:{entry.canonical}"


def description(exchange: str, entry: Entry) -> str:
    """A market for people."""
    return f"{entry.base}/{entry.quote} · {exchange}"


def decimals(step: Decimal) -> int:
    """How many decimals a step has."""
    exponent = step.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else DECIMALS


def price_step(entry: Entry) -> tuple[int, int]:
    """`minmov` and `pricescale`: the smallest step of the price is their ratio; 8 decimals where nobody knows it."""
    if entry.tick is None:
        return 1, 10**DECIMALS
    scale: int = 10 ** decimals(entry.tick)
    return int(entry.tick * scale), scale
