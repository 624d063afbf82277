"""Keeps the symbols of one connection connected: reconnects after a loss, and before the exchange closes it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence

import structlog
from websockets.exceptions import WebSocketException

from config.process.retry import retry_until
from producers import metrics
from producers.exchanges.model import ENDING, Control, Parsed, Trades
from producers.stream.connection import ConnectionLostError, ExchangeConnection
from producers.stream.context import StreamContext
from producers.stream.rotation import Rotation
from producers.stream.subscriptions import Refusal, Subscriptions, SubscriptionTimeouts
from producers.stream.symbol_states import SymbolStatus, SymbolStatuses

_log = structlog.get_logger(__name__)
_FAILURES = (OSError, WebSocketException, ConnectionLostError)


class ReconnectingStream:
    """The symbols of one connection, which `run` keeps connected until `stop` is set."""

    def __init__(self, context: StreamContext, symbols: Sequence[str]) -> None:
        """`symbols` are in the exchange's own spelling."""
        self._context = context
        self._symbols = symbols
        refusals: dict[str, Refusal] = {}
        self._rotation = Rotation(lambda: _Reconnecting(context, symbols, refusals), context.count_rotation)

    @property
    def ready(self) -> bool:
        """Whether it is connected, every subscription is answered, and at least one is accepted."""
        return self._rotation.ready

    def statuses(self) -> dict[str, SymbolStatus]:
        """The status of each symbol on the current connection."""
        current = self._rotation.current
        return current.statuses() if current is not None else {}

    def unknown(self, symbol: str, words: str) -> None:
        """Record that the exchange's REST interface does not know a symbol. `words`: the exchange's message."""
        current = self._rotation.current
        if current is not None:
            current.unknown(symbol, words)

    @property
    def symbols(self) -> Sequence[str]:
        """The symbols, in the exchange's own spelling."""
        return self._symbols

    def rotate(self) -> None:
        """Replace the connection as at the end of its lifetime, unless it has just been replaced."""
        self._rotation.rotate()

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set.

        Raises:
            DeliveryError: the publisher cannot go on.
        """
        await self._rotation.run(stop)


class _Reconnecting:
    """A connection and its replacements after losses, until it is retired."""

    def __init__(self, context: StreamContext, symbols: Sequence[str], refusals: dict[str, Refusal]) -> None:
        self.ready = asyncio.Event()
        self._context = context
        self._symbols = symbols
        self._refusals = refusals
        self._end = asyncio.Event()
        self._opened_s: float | None = None
        self._ending = False
        options, exchange = context.options, context.exchange
        lifetime = exchange.lifetime_s if options.lifetime_s is None else options.lifetime_s
        self._rotate_after_s = max(lifetime - options.early_s, lifetime / 2) if lifetime else float("inf")
        self._subscriptions = self._fresh()
        self._log = _log.bind(exchange=exchange.code)
        self.task = asyncio.ensure_future(self._run())

    @property
    def is_old(self) -> bool:
        """Whether the exchange will soon close the connection, because of its age or because it said so."""
        if self._opened_s is None:
            return False
        return self._ending or time.monotonic() - self._opened_s > self._rotate_after_s

    def expire(self) -> None:
        """Let the connection count as old. A connection that is too young to show whether a symbol is quiet stays."""
        if self._opened_s is not None and time.monotonic() - self._opened_s > 2 * self._context.options.quiet_s:
            self._log.warning("connection replaced: it sends no trades of a symbol that trades", symbols=self._symbols)
            self._rotate_after_s = 0.0

    async def retire(self) -> None:
        """Close the connection. Frames that have arrived are still published.

        Raises:
            DeliveryError: the publisher cannot go on.
        """
        self._end.set()
        if self._opened_s is None:
            self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    def statuses(self) -> dict[str, SymbolStatus]:
        """The status of each symbol."""
        return self._subscriptions.statuses.now(time.monotonic())

    def unknown(self, symbol: str, words: str) -> None:
        """Treat a symbol without trades on this connection as refused, even if it is acknowledged."""
        self._subscriptions.unknown(symbol, words)

    def _fresh(self) -> Subscriptions:
        options = self._context.options
        return Subscriptions(
            self._context.exchange,
            self._symbols,
            SymbolStatuses(self._symbols, options.silent_s),
            self._refusals,
            SubscriptionTimeouts(options.answer_s, options.refused_s),
        )

    async def _run(self) -> None:
        while not self._end.is_set():
            # After a healthy connection `_session` returns without an error, so the next back-off begins small.
            again = retry_until(self._end, _FAILURES, self._context.options.back_off_s, self._log, "connecting again")
            await again(self._session)

    async def _session(self) -> None:
        """Run one connection to its end. Raises only if the connection was not healthy."""
        context = self._context
        code, options = context.exchange.code, context.options
        url = context.endpoint or context.exchange.url
        connection = ExchangeConnection(context.exchange, url, self._due, options, context.venue_limits.connecting)
        started, healthy = time.monotonic(), False
        self._ending = False
        try:
            async with connection.open(self._end) as frames:
                started = self._opened_s = time.monotonic()
                context.counters.connections += 1
                metrics.CONNECTED.labels(code).inc()
                async for frame in frames:
                    healthy = True
                    parsed = await context.frames.take(frame)
                    self._ending = self._ending or (isinstance(parsed, Control) and parsed.kind == ENDING)
                    self._handle(parsed)
        except _FAILURES as error:
            cause = error.cause if isinstance(error, ConnectionLostError) else type(error).__name__
            context.counters.disconnects[cause] += 1
            metrics.DISCONNECTS.labels(code, cause).inc()
            self._log.warning("connection lost", cause=cause, error=str(error), url=url)
            if self._opened_s is not None:
                context.losses.lost(self._symbols)
            if not healthy or time.monotonic() - started < options.healthy_after_s:
                raise
        finally:
            if self._opened_s is not None:
                metrics.CONNECTED.labels(code).dec()
            self._opened_s = None
            self.ready.clear()
            self._subscriptions = self._fresh()

    def _due(self) -> list[str]:
        now_s = time.monotonic()
        self._report_resumed(self._subscriptions.settle(now_s))
        return self._subscriptions.due(now_s)

    def _handle(self, parsed: Parsed) -> None:
        now_s = time.monotonic() if isinstance(parsed, Control) or not self.ready.is_set() else 0.0
        accepted = self._subscriptions.handle(parsed, now_s)
        if self.ready.is_set():
            self._report_resumed(accepted)
            return
        self._subscriptions.settle(now_s)
        age_s = now_s - (self._opened_s or 0.0)
        is_up = isinstance(parsed, Trades) and age_s > self._context.options.ready_s
        if self._subscriptions.is_answered or is_up:
            self.ready.set()
            self._context.losses.resumed(self._subscriptions.accepted)

    def _report_resumed(self, symbols: Sequence[str]) -> None:
        """Report symbols that are accepted now, after they were refused or not answered."""
        if symbols and self.ready.is_set():
            self._context.losses.resumed(symbols)
