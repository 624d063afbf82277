"""`watch_trades` of every symbol over one instance of a ccxt class, from its first connection until it is retired."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ccxt
import structlog

from producers import metrics
from producers.counters import LiveReport
from producers.exchanges.model import Exchange, Parsed, RestError, Trades
from producers.options import Limits
from producers.retry import retrying
from producers.stream.subscriptions import named_in
from producers.stream.symbol_states import Standing, Standings, State

#: Silence that is normal on quiet symbols of an exchange that nobody here knows.
_IDLE_S = 300.0
_TICK_S = 0.25
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Feeding:
    """What a feed's streams share."""

    exchange: Exchange
    #: Those that the exchange lists; a stream that was begun with others is old.
    symbols: list[str]
    limits: Limits
    report: LiveReport
    take: Callable[[bytes, Parsed], Awaitable[None]]
    #: Told the symbols whose trades may have been missed, and those that flow again.
    lost: Callable[[Sequence[str]], None]
    resumed: Callable[[Sequence[str]], None]


class Stream:
    """Connections are ccxt's; this one's are closed by `retire`. Ready when every symbol is watched."""

    def __init__(self, venue: Any, feeding: Feeding) -> None:
        """`venue` from `producers.ccxt.venue.make`, with its markets: this stream's alone. Starts at once."""
        self.ready = asyncio.Event()
        self._venue, self._feeding = venue, feeding
        self._symbols = [*feeding.symbols]
        self._standings = Standings(self._symbols, feeding.limits.silent_s)
        venue.told = self
        limits, exchange = feeding.limits, feeding.exchange
        lifetime_s = exchange.lifetime_s if limits.lifetime_s is None else limits.lifetime_s
        self._renew_after_s = max(lifetime_s - limits.early_s, lifetime_s / 2) if lifetime_s else float("inf")
        #: Since when each symbol is watched, on the monotonic clock; not there while that has failed.
        self._since_s: dict[str, float] = {}
        self._flowing: set[str] = set()
        self._connected = 0
        self._end = asyncio.Event()
        self._log = _log.bind(exchange=exchange.code)
        self.task = asyncio.ensure_future(self._run())

    @property
    def is_old(self) -> bool:
        """A connection of it is of the age at which exchanges cut them off, or there are other symbols to watch."""
        return self._age_s > self._renew_after_s or self._symbols != self._feeding.symbols

    def standings(self) -> dict[str, Standing]:
        """How each symbol stands."""
        return self._standings.now(time.monotonic())

    def age(self) -> None:
        """Have it replaced, unless it is younger than what makes a symbol quiet."""
        if self._age_s > 2 * self._feeding.limits.quiet_s:
            self._log.warning("connection replaced: it brings nothing of a symbol that trades")
            self._renew_after_s = 0.0

    async def retire(self) -> None:
        """Close it; what had arrived is still taken.

        Raises:
            PublishError: the publisher cannot go on.
        """
        self._end.set()
        await self.task

    def opened(self) -> None:
        """A connection is open."""
        self._feeding.report.connections += 1

    def closed(self, cause: str, detail: str, *, was_open: bool) -> None:
        """A connection was lost or could not be opened."""
        if self._end.is_set():
            return
        self._feeding.report.disconnects[cause] += 1
        metrics.DISCONNECTS.labels(self._feeding.exchange.code, cause).inc()
        self._log.warning("connection lost", cause=cause, error=detail)
        if was_open:
            # ccxt does not tell which symbols it carried.
            self._fails(self._symbols)

    def rejected(self, error: object) -> None:
        """The exchange said no: perhaps to a symbol, whose watcher ccxt may have left waiting."""
        refused = [symbol for symbol in self._symbols if self._is_refusal(error, symbol)]
        if not isinstance(error, Exception) or not refused:
            return
        for symbol in refused:
            self._standings.refused(symbol, str(error))
            for client in [*(self._venue.clients or {}).values()]:
                client.let_go(self._names(symbol), error)

    @property
    def _open(self) -> list[Any]:
        return [one for one in (self._venue.clients or {}).values() if one.isConnected and not one.closed()]

    @property
    def _age_s(self) -> float:
        return max((time.monotonic() - client.opened_s for client in self._open), default=0.0)

    async def _run(self) -> None:
        taking = asyncio.ensure_future(self._take_all())
        others = [
            *map(asyncio.ensure_future, map(self._watch_for_ever, self._symbols)),
            asyncio.ensure_future(self._watch_dog()),
            asyncio.ensure_future(self._end.wait()),
        ]
        try:
            await asyncio.wait([taking, *others], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._end.set()
            for task in others:
                task.cancel()
            ended = await asyncio.gather(*others, return_exceptions=True)
            self._show(0)
            await self._venue.close()
            # What had arrived is still taken.
            self._venue.end()
            await taking
        for result in ended:
            if isinstance(result, Exception):
                raise result

    async def _take_all(self) -> None:
        while (arrived := await self._venue.next_frame()) is not None:
            frame, parsed = arrived
            if isinstance(parsed, Trades):
                self._standings.observe(parsed.records)
            await self._feeding.take(frame, parsed)

    async def _watch_for_ever(self, symbol: str) -> None:
        log = self._log.bind(symbol=symbol)
        while not self._end.is_set():
            # One that was healthy ends the call, so that the back-off starts small again.
            await retrying((RestError,), self._feeding.limits.back_off_s, self._end, log, "watching again")(
                self._watch, symbol
            )
            if self._standings.state(symbol) is State.REFUSED:
                # It may be listed later; asked often, some classes of ccxt fail every other symbol with it.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._end.wait(), self._feeding.limits.refused_s)

    async def _watch(self, symbol: str) -> None:
        """`watch_trades` from one loss of it to the next; raises only where it never became healthy."""
        started = self._since_s[symbol] = time.monotonic()
        healthy = False
        try:
            while True:
                await self._venue.watch_trades(symbol)
                healthy = True
                if symbol not in self._flowing:
                    self._flowing.add(symbol)
                    self._feeding.resumed([symbol])
                    self._look()
        # A class of ccxt can fail in any way, and cancels its own futures; the next try may succeed.
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            words = str(error) or type(error).__name__
            self._log.warning("not watched", symbol=symbol, error=words)
            if symbol in self._flowing:
                self._fails([symbol])
            self._since_s.pop(symbol, None)
            self.ready.clear()
            if self._is_refusal(error, symbol):
                self._standings.refused(symbol, words)
                self._look()
                return
            self._standings.unanswered(symbol, f"not watched: {words}")
            if not healthy or time.monotonic() - started < self._feeding.limits.healthy_after_s:
                raise RestError(str(error)) from error

    def _is_refusal(self, error: object, symbol: str) -> bool:
        """Whether the exchange says no to this symbol; ccxt often fails all of them with the words about one."""
        return isinstance(error, ccxt.ExchangeError) and bool(named_in(str(error), self._names(symbol)))

    def _names(self, symbol: str) -> list[str]:
        """ccxt's, and the exchange's own."""
        return [symbol, str(self._venue.markets.get(symbol, {}).get("id") or symbol)]

    def _fails(self, symbols: Sequence[str]) -> None:
        self._standings.lost(symbols)
        self._flowing.difference_update(symbols)
        self.ready.clear()
        self._feeding.lost(symbols)

    def _look(self) -> None:
        """Whether every symbol brought a trade, or has been watched for so long that it is a quiet one."""
        if self.ready.is_set() or not self._open:
            return
        ready_s = self._feeding.limits.ready_s
        now_s, is_settled = time.monotonic(), self._age_s > ready_s
        wanted = [symbol for symbol in self._symbols if self._standings.state(symbol) is not State.REFUSED]
        quiet = [symbol for symbol in wanted if symbol not in self._flowing]
        if wanted and all(is_settled and now_s - self._since_s.get(symbol, now_s) > ready_s for symbol in quiet):
            self.ready.set()
            for symbol in quiet:
                self._standings.acknowledged(symbol, now_s)
            self._feeding.resumed(quiet)

    async def _watch_dog(self) -> None:
        """ccxt does not notice an exchange that goes silent, nor each end of a connection."""
        idle_s = _IDLE_S if self._feeding.limits.idle_s is None else self._feeding.limits.idle_s
        while True:
            await asyncio.sleep(min(_TICK_S, idle_s / 4))
            self._show(len(self._open))
            self._look()
            for client in [*(self._venue.clients or {}).values()]:
                # While the publisher has no room nothing is read: that is no silence.
                silent = not self._venue.frames and time.monotonic() - client.received_s > idle_s
                if client.isConnected and (silent or client.closed()) and client.error is None:
                    client.on_error(ccxt.RequestTimeout("silence") if silent else ccxt.NetworkError("connection lost"))

    def _show(self, connected: int) -> None:
        metrics.CONNECTED.labels(self._feeding.exchange.code).inc(connected - self._connected)
        self._connected = connected
