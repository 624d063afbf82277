"""One exchange's symbols, kept connected: every frame parsed, published and counted."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from config.markets import Markets
from producers import metrics
from producers.counters import Counting, LiveReport
from producers.exchanges import REGISTRY, UnknownExchangeError
from producers.exchanges.model import ERROR, Control, Exchange, Parsed, Trade, Trades, chunks
from producers.gaps.gap import Gap
from producers.gaps.healing import Callbacks, Healer
from producers.gaps.resume import Earlier
from producers.kafka.back_pressure import Outlet
from producers.kafka.envelope import REST, envelopes
from producers.kafka.publisher import Publisher
from producers.lag import LagMeter
from producers.options import Limits
from producers.rest.client import RestClient
from producers.stream.reconnect import Lane, Venue
from producers.stream.symbol_states import Standing, said, troubled
from producers.timestamps import now_us
from producers.venue_limits import OPEN, Guard

FLUSH_S = 30.0
_log = structlog.get_logger(__name__)

if TYPE_CHECKING:
    from producers.ccxt.feed import UnifiedFeed


class LiveProducer:
    """Connect, subscribe, parse, publish; again after every loss, until `stop` is set."""

    def __init__(
        self,
        code: str,
        symbols: Sequence[str],
        publisher: Publisher,
        *,
        endpoint: str | None = None,
        rest_endpoint: str | None = None,
        limits: Limits | None = None,
        note: Callable[[Gap], None] = lambda _gap: None,
        flush_s: float = FLUSH_S,
        markets: Markets | None = None,
    ) -> None:
        """Nothing is connected yet.

        Args:
            code: exchange code.
            symbols: in the exchange's own spelling.
            publisher: stays open.
            endpoint: instead of the exchange's own URL; the exchange's own REST interface is then not asked.
            rest_endpoint: instead of the exchange's own REST interface.
            limits: of the connections.
            note: told of gaps.
            flush_s: how long a full buffer is waited for after `stop`.
            markets: of an exchange that is reached through ccxt, as `fetch_markets()` gives them.

        Raises:
            UnknownExchangeError: neither a module of ours nor ccxt has the exchange.
            MarketsMissingError: nobody may be asked for the markets of an exchange that is reached through ccxt.
        """
        self.report = LiveReport()
        self._exchange = REGISTRY.get(code) or _of_ccxt(code)
        #: Reads what earlier lives left, until it can or the event is set; None: nothing is asked.
        self.earlier: Callable[[threading.Event], Earlier] | None = None
        self._outlet = Outlet(code, publisher, self.report, flush_s)
        limits = limits or Limits()
        self._log = _log.bind(exchange=code)
        self.counting = Counting(code, self.report)
        self._lag = LagMeter(code)
        rest = self._exchange.rest
        self.guard = Guard(
            code,
            self._exchange.connects,
            limits.requests or (rest.rate if rest else self._exchange.requests),
            failures=limits.breaker_failures,
            open_s=limits.breaker_open_s,
        )
        self._lanes: Sequence[Lane | UnifiedFeed]
        self._client: RestClient | UnifiedFeed | None
        feed = None
        if code in REGISTRY:
            asked = rest is not None and (rest_endpoint is not None or endpoint is None)
            self._client = (
                RestClient(self._exchange, rest, self.guard, rest_endpoint, endpoint) if rest and asked else None
            )
        else:
            from producers.ccxt.feed import UnifiedFeed  # noqa: PLC0415  # ccxt takes seconds to load

            feed = UnifiedFeed(
                self._exchange,
                symbols,
                limits,
                self.guard,
                self.report,
                self._accept,
                endpoint=endpoint,
                rest_endpoint=rest_endpoint,
                markets=markets,
            )
            self._client = feed if feed.heals else None
        callbacks = Callbacks(self._publish_healed, note, self._renew, self._unknown)
        self.healer = Healer(self._exchange, symbols, limits, self._client, callbacks)
        self.report.gaps = self.healer.report
        if feed is not None:
            feed.lost, feed.resumed = self.healer.lost, self.healer.resumed
            self._lanes = [feed]
            return
        venue = Venue(
            self._exchange,
            endpoint or self._exchange.url,
            limits,
            self.guard,
            self.report,
            self._take,
            self.healer.lost,
            self.healer.resumed,
        )
        self._lanes = [Lane(venue, chunk) for chunk in chunks(symbols, self._exchange.symbols_a_connection)]
        # Until they are connected: what earlier lives published may end long before.
        self.healer.lost(symbols)

    @property
    def exchange(self) -> Exchange:
        """Whose trades these are."""
        return self._exchange

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set.

        Raises:
            PublishError: the publisher cannot go on.
        """
        self._outlet.stop = stop
        async with self._client or contextlib.nullcontext():
            await self._run(stop)

    async def _run(self, stop: asyncio.Event) -> None:
        lanes = [asyncio.ensure_future(lane.run(stop)) for lane in self._lanes]
        lanes.append(asyncio.ensure_future(self.healer.run(stop)))
        lanes.append(asyncio.ensure_future(self._resume(stop)))
        try:
            await asyncio.wait(lanes, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            stop.set()
            self._outlet.deadline()
            results = await asyncio.gather(*lanes, return_exceptions=True)
            self.healer.end()
            self.counting.show()
        for result in results:
            if isinstance(result, BaseException):
                raise result

    @property
    def connections(self) -> tuple[int, int]:
        """How many are up and subscribed, and how many there should be."""
        return sum(lane.ready for lane in self._lanes), len(self._lanes)

    def standings(self) -> dict[str, Standing]:
        """How each symbol stands, in the order in which they were given."""
        found: dict[str, Standing] = {}
        for lane in self._lanes:
            found |= lane.standings()
        return found

    def troubles(self) -> dict[str, str]:
        """What is wrong, by name; empty: every symbol's trades flow."""
        refused = troubled(self.standings())
        return self.unready() | ({"symbols": said(refused)} if refused else {})

    def unready(self) -> dict[str, str]:
        """Why no trades flow, by name; a symbol that the exchange refuses keeps nobody else from being ready."""
        found = {}
        up, all_of_them = self.connections
        if up < all_of_them:
            found["connections"] = f"{all_of_them - up} of {all_of_them} are not up or not subscribed yet"
        for interface, state in self.guard.states.items():
            if state == OPEN:
                found[interface] = f"the {interface} circuit breaker is open after repeated failures"
        if self._outlet.is_full:
            found["broker"] = "the buffer is full, reading stands still"
        return found

    async def _resume(self, stop: asyncio.Event) -> None:
        """The trades flow meanwhile: a broker that is away does not keep the producer from reading."""
        if self.earlier is None:
            return
        given_up = threading.Event()
        reading = asyncio.ensure_future(asyncio.to_thread(self.earlier, given_up))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait([reading, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        given_up.set()
        earlier = await reading
        if stop.is_set():
            return
        if self._client is not None:
            self._client.resume(earlier.published)
        self.healer.resume(earlier)

    def _renew(self, symbols: Sequence[str]) -> None:
        """Not for a symbol that is refused: a new connection would bring nothing of it either."""
        refused = troubled(self.standings())
        for lane in self._lanes:
            if not (set(symbols) - refused.keys()).isdisjoint(lane.symbols):
                lane.renew()

    def _unknown(self, symbol: str, words: str) -> None:
        for lane in self._lanes:
            if symbol in lane.symbols:
                lane.unknown(symbol, words)

    async def _publish_healed(self, trades: Sequence[Trade]) -> None:
        messages = envelopes(self._exchange.code, b"", Trades([*trades]), now_us())
        await self._outlet.put(messages, source=REST)

    async def _take(self, frame: bytes) -> Parsed:
        parsed = self._exchange.parse(frame)
        await self._accept(frame, parsed)
        return parsed

    async def _accept(self, frame: bytes, parsed: Parsed) -> None:
        received_ns = time.time_ns()
        self.report.count(frame, parsed)
        acknowledged = None
        if not isinstance(parsed, Trades):
            self._count_other(frame, parsed)
        else:
            acknowledged = self._lag.received(parsed, received_ns)
        messages = envelopes(self._exchange.code, frame, parsed, received_ns // 1_000)
        if messages:
            await self._outlet.put(messages, acknowledged)
        if isinstance(parsed, Trades):
            self.healer.observe(parsed.records)
        elif isinstance(parsed, Control) and parsed.placeholders:
            self.healer.observe(parsed.placeholders)

    def time_left_s(self) -> float:
        """To flush what is taken, since `stop` was set."""
        return self._outlet.time_left_s()

    def _count_other(self, frame: bytes, parsed: Parsed) -> None:
        if isinstance(parsed, Control):
            metrics.CONTROL.labels(self._exchange.code, parsed.kind).inc()
            if parsed.kind == ERROR:
                self._log.error("the exchange reports an error", message=frame[:1_000].decode(errors="replace"))
        else:
            metrics.UNRECOGNISED.labels(self._exchange.code).inc()


def _of_ccxt(code: str) -> Exchange:
    from producers.ccxt.feed import exchange_named  # noqa: PLC0415  # as above

    exchange = exchange_named(code)
    if exchange is None:
        raise UnknownExchangeError(
            f"no producer for the exchange {code!r}: use one of {', '.join(REGISTRY)}, or a name that ccxt knows"
            " (`python -c 'import ccxt; print(ccxt.exchanges)'`)"
        )
    return exchange
