"""Names of streams: `btcusdt@kline_1m`, `btcusdt@miniTicker`, `btcusdt@trade`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from config.errors import MedallionError
from serving.candles import Market
from serving.intervals import INTERVALS, Interval

_KLINE = "kline_"


class StreamError(MedallionError):
    """No such stream."""


@dataclass(frozen=True)
class Stream:
    """What a client listens to: a market's trades, its candles of `interval`, or its last 24 hours."""

    name: str
    market: Market
    kind: Literal["kline", "trade", "miniTicker"]
    interval: Interval | None = None


def parse(name: str, exchange: str, symbols: frozenset[str]) -> Stream:
    """A stream of an exchange by its name; `symbols` are those of its markets.

    Raises:
        StreamError: no market, or no stream, of that name.
    """
    symbol, _, kind = name.partition("@")
    market = (exchange, symbol.upper())
    if market[1] not in symbols:
        raise StreamError(f"Invalid request: {exchange} has no market {symbol[:100]!a}.")
    if kind == "trade":
        return Stream(name, market, "trade")
    if kind == "miniTicker":
        return Stream(name, market, "miniTicker")
    if kind.startswith(_KLINE) and kind.removeprefix(_KLINE) in INTERVALS:
        return Stream(name, market, "kline", INTERVALS[kind.removeprefix(_KLINE)])
    raise StreamError(f"Invalid request: {kind[:100]!a} is none of kline_<interval>, miniTicker, trade.")
