"""What a provider of series is: it turns a question about a span of time into answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from series.answer import Answer
from series.declaration import Series


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for: a series of a market, from `start` (included) to `end` (UTC).

    `exchange`, `symbol`: our code and the canonical symbol, "" where the series is of no market. `exchange_symbol`: the
    exchange's own name. `frame`: length of the periods, "" where the rows are moments.
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
        said = {"exchange": self.exchange, "symbol": self.symbol, self.series.frame: self.frame}
        return {name: text for name, text in said.items() if name in self.series.key}

    @property
    def name(self) -> str:
        """The question in reports: `bars binance BTCUSDT 1m`."""
        return " ".join(part for part in (self.series.name, self.exchange, self.symbol, self.frame) if part)


class Provider(Protocol):
    """A source of series."""

    def answers(self, question: Question) -> AsyncIterator[Answer]:
        """The answers, oldest first. Each may hold rows around the span.

        Raises:
            ProviderError: the provider does not answer, or not what was asked.
        """

    async def close(self) -> None:
        """Close the connections."""


class ProviderError(Exception):
    """A question is not answered to its end. What came before is stored; the next run goes on from there."""
