"""Replaces a connection before the end of its lifetime: the new one is subscribed before the old one closes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

_TICK_S = 0.05


class Rotating(Protocol):
    """A connection and its replacements after losses, until it is retired."""

    # Ends with the connection, or with an error that ends the producer.
    task: asyncio.Task[None]
    # Set while everything is subscribed.
    ready: asyncio.Event

    @property
    def is_old(self) -> bool:
        """Whether the exchange will soon close the connection."""

    def expire(self) -> None:
        """Let the connection count as old, so that it is replaced, unless it is very young."""

    async def retire(self) -> None:
        """Close the connection. Frames that have arrived are still published."""


Connection = TypeVar("Connection", bound=Rotating)


class Rotation(Generic[Connection]):
    """Holds one connection, or two while the new one is not ready yet."""

    def __init__(self, start: Callable[[], Connection], rotated: Callable[[], None]) -> None:
        """`start` opens a connection. `rotated` is called after a new connection has replaced an old one."""
        self._start, self._rotated = start, rotated
        # The connection in use; None before the first.
        self.current: Connection | None = None

    @property
    def ready(self) -> bool:
        """Whether the connection is up and everything is subscribed."""
        return self.current is not None and self.current.ready.is_set()

    def rotate(self) -> None:
        """Replace the connection as at the end of its lifetime, unless it has just been replaced."""
        if self.current is not None:
            self.current.expire()

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set.

        Raises:
            Exception: the error that ended a connection's task.
        """
        connections = [self._start()]
        self.current = connections[0]
        stopping = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                await asyncio.wait(
                    [connections[0].task, stopping], timeout=_TICK_S, return_when=asyncio.FIRST_COMPLETED
                )
                if connections[0].task.done():
                    connections[0].task.result()
                if len(connections) == 1 and connections[0].is_old:
                    connections.append(self._start())
                elif len(connections) == 2 and (connections[1].ready.is_set() or connections[1].task.done()):
                    old = connections.pop(0)
                    self.current = connections[0]
                    await old.retire()
                    self._rotated()
        finally:
            stopping.cancel()
            await asyncio.gather(*(connection.retire() for connection in connections))
