"""The interface of a provider of series: it answers questions about a span of time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from series.answer import Answer
from series.declaration import Series


@dataclass(frozen=True, slots=True)
class Question:
    """Asks for a series of a market in [`start`, `end`) (UTC).

    `exchange`, `symbol`: our code and the canonical symbol, "" if the series is of no market. `exchange_symbol`: the
    exchange's own symbol. `frame`: length of the periods, "" if the rows are moments.
    """

    series: Series
    start: datetime
    end: datetime
    exchange: str = ""
    symbol: str = ""
    exchange_symbol: str = ""
    frame: str = ""

    @property
    def key(self) -> dict[str, str]:
        """The texts of the key that the question names, by column."""
        texts = {"exchange": self.exchange, "symbol": self.symbol, self.series.frame: self.frame}
        return {name: text for name, text in texts.items() if name in self.series.key}

    @property
    def name(self) -> str:
        """The question in reports: `bars binance BTCUSDT 1m`."""
        return " ".join(part for part in (self.series.name, self.exchange, self.symbol, self.frame) if part)


class Provider(Protocol):
    """A source of series."""

    def answers(self, question: Question) -> AsyncIterator[Answer]:
        """The answers, oldest first. An answer may have rows before and after the span.

        Raises:
            ProviderError: the provider does not answer, or its answer cannot be used.
            SeriesError: the provider does not have the series or the market.
        """

    async def close(self) -> None:
        """Close the connections."""


class ProviderError(Exception):
    """A question was not answered to its end. Earlier answers are stored; the next run continues after them."""
