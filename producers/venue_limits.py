"""Rate limits and circuit breakers of an exchange's interfaces."""

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
    """The circuit breaker is open: for a while, no request is sent to the exchange."""


class VenueLimits:
    """The limits of one exchange for this whole process. It belongs to one event loop.

    Streams and REST run on different machines of the exchange, so each has its own circuit breaker: a REST service that
    is down does not prevent a stream from reconnecting.
    """

    def __init__(self, venue: str, connects: Rate, requests: Rate, *, failures: int, open_s: float) -> None:
        """`connects` limits new connections, `requests` REST requests.

        `failures` in a row open a breaker. After `open_s` it lets one attempt through, and closes if that succeeds.
        """
        self._venue = venue
        self._limiters = {
            STREAM: AsyncLimiter(connects.times, connects.seconds),
            REST: AsyncLimiter(requests.times, requests.seconds),
        }
        # Neither a cancelled task nor a symbol that the exchange does not know is a failure of the exchange.
        self._breakers = AsyncCircuitBreakerFactory(failures, open_s, exclude=[asyncio.CancelledError, UnknownError])
        self.states = {STREAM: CLOSED, REST: CLOSED}
        for interface in self.states:
            self._show(interface)

    def connecting(self) -> AbstractAsyncContextManager[None]:
        """A context in which to open a connection. Entering waits for the rate limit; an error inside is a failure.

        Raises:
            VenueUnavailableError: the breaker is open.
        """
        return self._guarded(STREAM)

    def requesting(self) -> AbstractAsyncContextManager[None]:
        """A context in which to send a REST request, as `connecting`."""
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
