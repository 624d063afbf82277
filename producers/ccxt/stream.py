"""Watches every symbol with `watch_trades` of one instance of a ccxt class, until it is retired."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any

import structlog

from config.process.retry import retry_until
from producers import metrics
from producers.ccxt.rest_trades import RestTrades
from producers.ccxt.watched import WatchedSymbols
from producers.exchanges.model import RestError, Trades
from producers.stream.context import StreamContext
from producers.stream.symbol_states import SymbolStatus

# Longest silence of a healthy connection to an exchange that we do not know.
_IDLE_S = 300.0
_TICK_S = 0.25
_log = structlog.get_logger(__name__)


class CcxtStream:
    """Watches all symbols over ccxt's connections. Ready when every symbol is watched; `retire` closes it."""

    def __init__(
        self, venue: Any, watched: WatchedSymbols, context: StreamContext, listed: Sequence[str], rest: RestTrades
    ) -> None:
        """Starts at once.

        Args:
            venue: from `producers.ccxt.venue.make`, with its markets and `watched` as its listener. Used by this stream
                alone.
            watched: the symbols to watch.
            context: of the exchange.
            listed: the symbols that the exchange lists now. A stream that watches other symbols is old.
            rest: gets the trades that the stream brings.
        """
        self.ready = watched.ready
        self._venue, self._watched, self._context, self._listed, self._rest = venue, watched, context, listed, rest
        options, exchange = context.options, context.exchange
        lifetime_s = exchange.lifetime_s if options.lifetime_s is None else options.lifetime_s
        self._rotate_after_s = max(lifetime_s - options.early_s, lifetime_s / 2) if lifetime_s else float("inf")
        self._connected = 0
        self._log = _log.bind(exchange=exchange.code)
        self.task = asyncio.ensure_future(self._run())

    @property
    def is_old(self) -> bool:
        """Whether a connection has reached the end of its lifetime, or the listed symbols have changed."""
        return self._venue.age_s > self._rotate_after_s or self._watched.symbols != self._listed

    def statuses(self) -> dict[str, SymbolStatus]:
        """The status of each symbol."""
        return self._watched.statuses()

    def expire(self) -> None:
        """Let the stream count as old. A stream that is too young to show whether a symbol is quiet stays."""
        if self._venue.age_s > 2 * self._context.options.quiet_s:
            self._log.warning("connection replaced: it sends no trades of a symbol that trades")
            self._rotate_after_s = 0.0

    async def retire(self) -> None:
        """Close the stream. Frames that have arrived are still published.

        Raises:
            DeliveryError: the publisher cannot go on.
        """
        self._watched.end.set()
        await self.task

    async def _run(self) -> None:
        taking = asyncio.ensure_future(self._take_all())
        others = [
            *map(asyncio.ensure_future, map(self._watch_for_ever, self._watched.symbols)),
            asyncio.ensure_future(self._watch_dog()),
            asyncio.ensure_future(self._watched.end.wait()),
        ]
        try:
            await asyncio.wait([taking, *others], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._watched.end.set()
            for task in others:
                task.cancel()
            ended = await asyncio.gather(*others, return_exceptions=True)
            self._show(0)
            await self._venue.close()
            # Frames that have arrived are still published.
            self._venue.frames.end()
            await taking
        for result in ended:
            if isinstance(result, Exception):
                raise result

    async def _take_all(self) -> None:
        while (arrived := await self._venue.frames.take()) is not None:
            frame, parsed = arrived
            if isinstance(parsed, Trades):
                self._watched.observe(parsed.records)
                self._rest.streamed(parsed.records)
            await self._context.frames.take_parsed(frame, parsed)

    async def _watch_for_ever(self, symbol: str) -> None:
        log, end, options = self._log.bind(symbol=symbol), self._watched.end, self._context.options
        while not end.is_set():
            # After a healthy watch `_watch` returns without an error, so the next back-off begins small.
            await retry_until(end, (RestError,), options.back_off_s, log, "watching again")(self._watch, symbol)
            if self._watched.is_refused(symbol):
                # The symbol may be listed later. With frequent tries, some ccxt classes fail all other symbols, too.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(end.wait(), options.refused_s)

    async def _watch(self, symbol: str) -> None:
        """Watch a symbol until its stream is lost. Raises only if the stream was not healthy."""
        started, healthy = time.monotonic(), False
        self._watched.begin(symbol)
        try:
            while True:
                await self._venue.watch_trades(symbol)
                healthy = True
                if self._watched.flows(symbol):
                    self._watched.update_ready(self._venue.age_s)
        # A ccxt class can raise any error, and cancels its own futures. The next try may succeed.
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            if self._watched.failed(symbol, error):
                self._watched.update_ready(self._venue.age_s)
            elif not healthy or time.monotonic() - started < self._context.options.healthy_after_s:
                raise RestError(str(error)) from error

    async def _watch_dog(self) -> None:
        """Close silent and dead connections: ccxt does not notice all of them."""
        idle_s = _IDLE_S if self._context.options.idle_s is None else self._context.options.idle_s
        while True:
            await asyncio.sleep(min(_TICK_S, idle_s / 4))
            self._show(len(self._venue.open_sockets))
            self._watched.update_ready(self._venue.age_s)
            self._venue.give_up_silent(idle_s)

    def _show(self, connected: int) -> None:
        metrics.CONNECTED.labels(self._context.exchange.code).inc(connected - self._connected)
        self._connected = connected
