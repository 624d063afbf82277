"""Rate limits and circuit breakers: they protect an exchange from us, and us from an exchange that is down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import structlog
from aiolimiter import AsyncLimiter
from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState

from producers import metrics
from producers.exchanges.model import Rate, UnknownError

STREAM, REST = "stream", "rest"
CLOSED, HALF_OPEN, OPEN = "closed", "half-open", "open"
_STATE_OF = {"closed": CLOSED, "half-opened": HALF_OPEN, "opened": OPEN}
_log = structlog.get_logger(__name__)


class VenueUnavailableError(ConnectionError):
    """The circuit breaker is open: the exchange is not asked for a while."""


class VenueLimits:
    """The limits of one exchange for this whole process. Belongs to one event loop.

    Streams and REST run on different machines, so each has its own circuit breaker: a REST service that is down does
    not prevent a lost stream from coming back.
    """

    def __init__(self, venue: str, connects: Rate, requests: Rate, *, failures: int, open_s: float) -> None:
        """`failures` in a row open a breaker. It stays open for `open_s`; then one attempt decides."""
        self._venue = venue
        self._limiters = {
            STREAM: AsyncLimiter(connects.times, connects.seconds),
            REST: AsyncLimiter(requests.times, requests.seconds),
        }
        # A task that was cancelled, or a symbol that it does not know, says nothing about the venue.
        self._breakers = AsyncCircuitBreakerFactory(failures, open_s, exclude=[asyncio.CancelledError, UnknownError])
        self.states = {STREAM: CLOSED, REST: CLOSED}
        for interface in self.states:
            self._show(interface)

    def connecting(self) -> AbstractAsyncContextManager[None]:
        """Around opening a connection: waits its turn; a failure is whatever is raised inside.

        Raises:
            VenueUnavailableError: the breaker is open.
        """
        return self._guarded(STREAM)

    def requesting(self) -> AbstractAsyncContextManager[None]:
        """Around a REST request, as `connecting`."""
        return self._guarded(REST)

    @asynccontextmanager
    async def _guarded(self, interface: str) -> AsyncGenerator[None]:
        breaker = await self._breakers.get_breaker(interface)
        try:
            async with breaker:
                self._note(interface, breaker.context.state)
                await self._limiters[interface].acquire()
                yield
        except OpenedState as error:
            raise VenueUnavailableError(
                f"{self._venue} {interface} failed repeatedly and is left alone for a while"
            ) from error
        finally:
            self._note(interface, breaker.context.state)

    def _note(self, interface: str, state: str) -> None:
        now = _STATE_OF[state]
        if now != self.states[interface]:
            self.states[interface] = now
            _log.warning("circuit breaker", exchange=self._venue, interface=interface, state=now)
            self._show(interface)

    def _show(self, interface: str) -> None:
        for state in (CLOSED, HALF_OPEN, OPEN):
            metrics.BREAKER.labels(self._venue, interface, state).set(state == self.states[interface])
