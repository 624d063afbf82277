"""Holds all connections of a producer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from producers.stream.symbol_states import SymbolStatus, troubled


class KeptConnection(Protocol):
    """The connection of some symbols, kept up."""

    @property
    def symbols(self) -> Sequence[str]:
        """In the exchange's own spelling."""

    @property
    def ready(self) -> bool:
        """Connected and subscribed."""

    def statuses(self) -> dict[str, SymbolStatus]:
        """The state of each symbol."""

    def unknown(self, symbol: str, words: str) -> None:
        """Note that the exchange's REST interface does not know a symbol, and its words."""

    def renew(self) -> None:
        """Replace the connection as at its end of life, unless it was replaced just now."""

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
        return [asyncio.ensure_future(one.run(stop)) for one in self._connections]

    @property
    def up(self) -> int:
        """How many connections are up and subscribed."""
        return sum(one.ready for one in self._connections)

    def __len__(self) -> int:
        """How many connections there should be."""
        return len(self._connections)

    def statuses(self) -> dict[str, SymbolStatus]:
        """The state of each symbol, in the given order."""
        found: dict[str, SymbolStatus] = {}
        for one in self._connections:
            found |= one.statuses()
        return found

    def renew(self, symbols: Sequence[str]) -> None:
        """Replace the connections of these symbols.

        A refused symbol is left alone: a new connection would not bring its trades either.
        """
        wanted = set(symbols) - troubled(self.statuses()).keys()
        for one in self._connections:
            if not wanted.isdisjoint(one.symbols):
                one.renew()

    def unknown(self, symbol: str, words: str) -> None:
        """Note that the exchange's REST interface does not know a symbol, and its words."""
        for one in self._connections:
            if symbol in one.symbols:
                one.unknown(symbol, words)
