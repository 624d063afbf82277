"""Holds all connections of a producer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from producers.stream.symbol_states import SymbolStatus, troubled


class KeptConnection(Protocol):
    """The connection of some symbols, which is kept open."""

    @property
    def symbols(self) -> Sequence[str]:
        """The symbols, in the exchange's own spelling."""

    @property
    def ready(self) -> bool:
        """Whether it is connected and subscribed."""

    def statuses(self) -> dict[str, SymbolStatus]:
        """The state of each symbol."""

    def unknown(self, symbol: str, words: str) -> None:
        """Record that the exchange's REST interface does not know a symbol. `words`: the exchange's message."""

    def rotate(self) -> None:
        """Replace the connection as at the end of its lifetime, unless it has just been replaced."""

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set.

        Raises:
            DeliveryError: the publisher cannot go on.
        """


class ConnectionPool:
    """The connections of one exchange code."""

    def __init__(self, connections: Sequence[KeptConnection]) -> None:
        """Nothing is connected yet."""
        self._connections = connections

    def start(self, stop: asyncio.Event) -> list[asyncio.Future[None]]:
        """Run each connection in its own task, until `stop` is set."""
        return [asyncio.ensure_future(connection.run(stop)) for connection in self._connections]

    @property
    def up(self) -> int:
        """The number of connections that are up and subscribed."""
        return sum(connection.ready for connection in self._connections)

    def __len__(self) -> int:
        """The number of connections, up or not."""
        return len(self._connections)

    def statuses(self) -> dict[str, SymbolStatus]:
        """The state of each symbol, in the given order."""
        statuses: dict[str, SymbolStatus] = {}
        for connection in self._connections:
            statuses |= connection.statuses()
        return statuses

    def rotate(self, symbols: Sequence[str]) -> None:
        """Replace the connections of these symbols.

        The connection of a refused symbol is not replaced for that symbol: a new one would not bring its trades either.
        """
        wanted = set(symbols) - troubled(self.statuses()).keys()
        for connection in self._connections:
            if not wanted.isdisjoint(connection.symbols):
                connection.rotate()

    def unknown(self, symbol: str, words: str) -> None:
        """Record that the exchange's REST interface does not know a symbol. `words`: the exchange's message."""
        for connection in self._connections:
            if symbol in connection.symbols:
                connection.unknown(symbol, words)
