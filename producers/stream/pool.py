"""Holds all connections of a producer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from producers.stream.symbol_states import SymbolStatus, troubled


class KeptConnection(Protocol):
    """Some symbols, kept connected."""

    @property
    def symbols(self) -> Sequence[str]:
        """In the exchange's own spelling."""

    @property
    def ready(self) -> bool:
        """Connected and subscribed."""

    def statuses(self) -> dict[str, SymbolStatus]:
        """How each symbol stands."""

    def unknown(self, symbol: str, words: str) -> None:
        """The exchange's REST interface says, in these words, that there is no such symbol."""

    def renew(self) -> None:
        """Replace the connection as before its end of life, unless that was done just now."""

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set.

        Raises:
            PublishError: the publisher cannot go on.
        """


class ConnectionPool:
    """The connections of one exchange code."""

    def __init__(self, connections: Sequence[KeptConnection]) -> None:
        """Nothing is connected yet."""
        self._connections = connections

    def start(self, stop: asyncio.Event) -> list[asyncio.Future[None]]:
        """Run each in a task of its own, until `stop` is set."""
        return [asyncio.ensure_future(one.run(stop)) for one in self._connections]

    @property
    def up(self) -> int:
        """How many are connected and subscribed."""
        return sum(one.ready for one in self._connections)

    def __len__(self) -> int:
        """How many there should be."""
        return len(self._connections)

    def statuses(self) -> dict[str, SymbolStatus]:
        """How each symbol stands, in the order in which they were given."""
        found: dict[str, SymbolStatus] = {}
        for one in self._connections:
            found |= one.statuses()
        return found

    def renew(self, symbols: Sequence[str]) -> None:
        """Replace the connections of these symbols.

        Not for a symbol that is refused: a new connection would bring nothing of it either.
        """
        wanted = set(symbols) - troubled(self.statuses()).keys()
        for one in self._connections:
            if not wanted.isdisjoint(one.symbols):
                one.renew()

    def unknown(self, symbol: str, words: str) -> None:
        """The exchange's REST interface says, in these words, that there is no such symbol."""
        for one in self._connections:
            if symbol in one.symbols:
                one.unknown(symbol, words)
