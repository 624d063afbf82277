"""Candles to draw, and the texts that every picture of them shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Candle:
    """One window that begins at `start` (UTC); prices in the quote currency, `volume` in the market's own unit.

    The numbers are those of the analysts' views: the doubles nearest to the exact ones.
    """

    start: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float
    trades: int

    @property
    def is_up(self) -> bool:
        """Whether it closed no lower than it opened."""
        return self.close >= self.open


@dataclass(frozen=True, slots=True)
class CandleSeries:
    """Candles of one market and time frame, oldest first, at least one. A window without a trade has no candle."""

    exchange: str
    symbol: str
    frame: str
    candles: Sequence[Candle]

    @property
    def title(self) -> str:
        """Market, time frame and span, in a line."""
        first, last = self.candles[0].start, self.candles[-1].start
        many = f"{len(self.candles):,} candles" if len(self.candles) > 1 else "1 candle"
        return f"{self.symbol} {self.exchange} {self.frame}, {moment(first)} … {moment(last)} UTC, {many}"


def moment(time: datetime) -> str:
    """A time to the minute, the shortest of a frame."""
    return f"{time:%Y-%m-%d %H:%M}"


def plain(number: float) -> str:
    """A double in its shortest decimal digits, with separators and without an exponent."""
    return f"{Decimal(repr(number)).normalize():,f}"
