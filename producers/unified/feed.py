"""A ccxt exchange's symbols kept flowing: `watch_trades` where it has it, else `fetch_trades` again and again."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

import ccxt
import structlog
from tenacity import AsyncRetrying, stop_when_event_set, wait_exponential_jitter

from config.errors import MedallionError
from config.markets import Markets
from producers import metrics
from producers.connection import Limits
from producers.exchanges.model import NO_TRADES, UNRECOGNISED, Control, Exchange, Parsed, Rate, Trade, Trades
from producers.exchanges.rest import RestError, Span
from producers.guard import Guard, VenueUnavailableError
from producers.lane import LiveReport
from producers.unified.trades import RestTrades, Unseen
from producers.unified.venue import class_of, make

#: Silence that is normal on quiet symbols of an exchange that nobody here knows.
_IDLE_S = 300.0
_TICK_S = 0.25
_POLL_S = 1.0
_log = structlog.get_logger(__name__)


class UnknownSymbolError(MedallionError, LookupError):
    """The exchange has no such market."""


class MarketsMissingError(MedallionError):
    """Nobody may be asked which markets the exchange has."""


def exchange_named(name: str) -> Exchange | None:
    """A ccxt exchange as one of ours; None for a name that ccxt does not know, or that has no public trades."""
    if name not in ccxt.exchanges:
        return None
    known = class_of(name)()
    if not (known.has.get("watchTrades") or known.has.get("fetchTrades")):
        return None
    # ccxt does not say how many connections an exchange allows, nor whether its ids are consecutive.
    return Exchange(
        name,
        "",
        lambda _frame: UNRECOGNISED,
        lambda _symbols: [],
        connects=Rate(5, 5.0),
        ids_of=None,
        requests=Rate(1, max(float(known.rateLimit), 1.0) / 1_000),
    )


class UnifiedFeed:
    """Of one exchange; `async with` opens and closes it. What healing asks is `pages`."""

    def __init__(
        self,
        exchange: Exchange,
        symbols: Sequence[str],
        limits: Limits,
        guard: Guard,
        report: LiveReport,
        take: Callable[[bytes, Parsed], Awaitable[None]],
        *,
        endpoint: str | None = None,
        rest_endpoint: str | None = None,
        markets: Markets | None = None,
    ) -> None:
        """Nothing is connected yet.

        Args:
            exchange: from `exchange_named`.
            symbols: ccxt's unified ones, `BTC/USDT`, `BTC/USDT:USDT`.
            limits: of the connections.
            guard: of the venue.
            report: counts connections and their losses.
            take: takes each frame.
            endpoint: instead of the exchange's WebSocket hosts; its REST hosts are then not asked.
            rest_endpoint: instead of its REST hosts.
            markets: as ccxt's `fetch_markets()` gives them; None: the exchange is asked.

        Raises:
            MarketsMissingError: neither markets nor anybody to ask for them.
        """
        self._exchange, self._symbols, self._limits = exchange, symbols, limits
        self._report, self._take = report, take
        self._asked = rest_endpoint is not None or endpoint is None
        if markets is None and not self._asked:
            raise MarketsMissingError(
                f"{exchange.code} is not to be asked for its markets: give --rest-endpoint beside --endpoint,"
                " or a saved list with --markets"
            )
        self._markets = markets
        self._guard = guard
        self._venue = make(exchange.code, guard, self, limits.open_s, endpoint, rest_endpoint)
        self._rest = RestTrades(exchange.code, self._venue, guard)
        self._stop = asyncio.Event()
        self._failing: set[str] = set(symbols)
        self._broken = False
        self._log = _log.bind(exchange=exchange.code)
        #: Told the symbols when their connection was lost, and when trades flow again.
        self.lost: Callable[[Sequence[str]], None] = lambda _symbols: None
        self.resumed: Callable[[Sequence[str]], None] = lambda _symbols: None

    @property
    def heals(self) -> bool:
        """Whether `pages` may be asked."""
        return self._asked and bool(self._venue.has.get("fetchTrades"))

    @property
    def ready(self) -> bool:
        """Trades of every symbol flow, as far as ccxt tells."""
        return not self._failing

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._venue.close()

    def pages(self, symbol: str, span: Span) -> AsyncIterator[list[Trade]]:
        """As `producers.rest.RestClient.pages`."""
        return self._rest.pages(symbol, span)

    async def newest(self, symbol: str) -> list[Trade]:
        """As `producers.rest.RestClient.newest`; what came since the stream broke comes with them."""
        return [trade async for page in self._rest.pages(symbol, Span(0, 0, 0)) for trade in page]

    def resume(self, published: Mapping[str, Sequence[Trade]]) -> None:
        """Trades of earlier lives, by symbol: what came since is missing."""
        for symbol, trades in published.items():
            self._rest.streamed(trades)
            self._rest.interrupted(symbol)

    @property
    def symbols(self) -> Sequence[str]:
        """ccxt's unified ones."""
        return self._symbols

    def renew(self) -> None:
        """Connections are ccxt's: they are replaced when they are lost, or silent."""

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set.

        Raises:
            UnknownSymbolError: the exchange has no such market.
            PublishError: from `take`: the publisher cannot go on.
        """
        self._stop = stop
        await self._retrying("markets")(self._load)
        if stop.is_set():
            return
        streams = bool(self._venue.has.get("watchTrades"))
        feeding = [self._watch_for_ever(symbol) for symbol in self._symbols] if streams else [self._poll_for_ever()]
        taking = asyncio.ensure_future(self._take_all())
        others = [*map(asyncio.ensure_future, [*feeding, self._watch_dog(), stop.wait()])]
        try:
            await asyncio.wait([taking, *others], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in others:
                task.cancel()
            ended = await asyncio.gather(*others, return_exceptions=True)
            await self._venue.close()
            # What had arrived is still taken.
            self._venue.end()
            await taking
        for result in ended:
            if isinstance(result, Exception):
                raise result

    async def _load(self) -> None:
        try:
            if self._markets is not None:
                self._venue.set_markets([*self._markets])
            else:
                async with self._guard.requesting():
                    await self._venue.load_markets()
        except ccxt.BaseError as error:
            raise RestError(f"{type(error).__name__}: {error}") from error
        known = self._venue.markets
        for symbol in self._symbols:
            if symbol not in known:
                near = difflib.get_close_matches(symbol, known, 3, 0.4)
                raise UnknownSymbolError(
                    f"{self._exchange.code} has no market {symbol!r}; use ccxt's unified symbols"
                    f" (like {', '.join(near or [*known][:3])})"
                )

    async def _watch_for_ever(self, symbol: str) -> None:
        while not self._stop.is_set():
            await self._retrying(symbol)(self._watch, symbol)

    async def _watch(self, symbol: str) -> None:
        """`watch_trades` from one loss of it to the next; raises only where it never brought anything."""
        healthy = False
        try:
            while True:
                await self._venue.watch_trades(symbol)
                healthy = True
                self._flows([symbol])
        # A class of ccxt can fail in any way; the next try may succeed.
        except Exception as error:
            self._failing.add(symbol)
            self._log.warning("not watched", symbol=symbol, error=str(error) or type(error).__name__)
            if not healthy:
                raise RestError(str(error)) from error

    async def _poll_for_ever(self) -> None:
        unseen = Unseen()
        pause_s = max(_POLL_S, self._venue.rateLimit / 1_000) if self._limits.requests is None else 0.0
        while True:
            for symbol in self._symbols:
                await self._retrying(symbol)(self._poll, symbol, unseen)
            await asyncio.sleep(max(pause_s, 0.01))

    async def _poll(self, symbol: str, unseen: Unseen) -> None:
        try:
            body, trades = await self._rest.newest(symbol)
        except (RestError, VenueUnavailableError):
            self._failing.add(symbol)
            self._interrupt([symbol])
            raise
        new, hole = unseen.of(symbol, trades)
        if hole:
            self._interrupt([symbol])
        self._venue.put(body, Trades(new) if new else Control(NO_TRADES))
        self._flows([symbol])

    async def _take_all(self) -> None:
        while (arrived := await self._venue.next_frame()) is not None:
            frame, parsed = arrived
            if isinstance(parsed, Trades):
                self._rest.streamed(parsed.records)
            await self._take(frame, parsed)

    async def _watch_dog(self) -> None:
        """ccxt does not notice an exchange that goes silent, nor each end of a connection."""
        idle_s = _IDLE_S if self._limits.idle_s is None else self._limits.idle_s
        while True:
            await asyncio.sleep(min(_TICK_S, idle_s / 4))
            clients = [*(self._venue.clients or {}).values()]
            connected = sum(client.isConnected and not client.closed() for client in clients)
            metrics.CONNECTED.labels(self._exchange.code).set(connected)
            for client in clients:
                # While the publisher has no room nothing is read: that is no silence.
                silent = not self._venue.frames and time.monotonic() - client.received_s > idle_s
                if client.isConnected and (silent or client.closed()) and client.error is None:
                    client.on_error(ccxt.RequestTimeout("silence") if silent else ccxt.NetworkError("connection lost"))

    def opened(self) -> None:
        """A connection is open."""
        self._report.connections += 1

    def closed(self, cause: str, detail: str) -> None:
        """A connection was lost or could not be opened."""
        if self._stop.is_set():
            return
        self._report.disconnects[cause] += 1
        metrics.DISCONNECTS.labels(self._exchange.code, cause).inc()
        self._log.warning("connection lost", cause=cause, error=detail)
        self._failing.update(self._symbols)
        self._interrupt(self._symbols)

    def _interrupt(self, symbols: Sequence[str]) -> None:
        self._broken = True
        self.lost(symbols)
        for symbol in symbols:
            self._rest.interrupted(symbol)

    def _flows(self, symbols: Sequence[str]) -> None:
        self._failing.difference_update(symbols)
        if self._broken:
            self._broken = bool(self._failing)
            self.resumed(symbols)

    def _retrying(self, what: str) -> AsyncRetrying:
        longest_s = self._limits.back_off_s

        async def sleep(seconds: float) -> None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), seconds)

        return AsyncRetrying(
            retry=lambda state: (
                state.outcome is not None and isinstance(state.outcome.exception(), RestError | VenueUnavailableError)
            ),
            wait=wait_exponential_jitter(multiplier=min(0.5, longest_s), max=longest_s, jitter=1.0),
            stop=stop_when_event_set(self._stop),  # type: ignore[arg-type]  # asks only for is_set()
            sleep=sleep,
            before_sleep=lambda state: self._log.info(
                "trying again", what=what, attempt=state.attempt_number, wait_s=round(state.upcoming_sleep, 2)
            ),
            retry_error_callback=lambda _state: None,
        )
