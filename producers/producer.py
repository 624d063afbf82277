"""Builds a live producer and runs it.

`live_producer` builds it. Trades flow from left to right:

    ConnectionPool ──▶ FrameHandler ──▶ WaitingPublisher ──▶ KafkaPublisher ──▶ raw topic
          │                 │                  ▲
          │ losses          │ trades           │ trades from REST
          └───────────▶ GapTracker ──▶ Healer ─┘
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

from config.settings import Settings
from config.symbols.markets import Markets
from producers.counters import LiveCounters
from producers.exchanges import REGISTRY, UnknownExchangeError
from producers.exchanges.model import Exchange, chunks
from producers.frames import FrameHandler
from producers.gaps.events import GapEvents
from producers.gaps.healing import Healer
from producers.gaps.resume import ResumePoint, resume_reader
from producers.gaps.tracker import GapTracker
from producers.kafka.back_pressure import WaitingPublisher
from producers.kafka.publisher import KafkaPublisher
from producers.options import ProducerOptions
from producers.rest.client import RestClient, TradesSource
from producers.stream.context import StreamContext
from producers.stream.pool import ConnectionPool, KeptConnection
from producers.stream.reconnect import ReconnectingStream
from producers.stream.symbol_states import SymbolStatus, trouble_text, troubled
from producers.venue_limits import OPEN, VenueLimits


def live_producer(
    code: str,
    symbols: Sequence[str],
    settings: Settings,
    publisher: KafkaPublisher,
    stop: asyncio.Event,
    *,
    endpoint: str | None = None,
    rest_endpoint: str | None = None,
    options: ProducerOptions,
    markets: Markets | None = None,
    flush_s: float,
) -> LiveProducer:
    """Build a producer from its parts. Nothing is connected yet.

    Args:
        code: exchange code.
        symbols: in the exchange's own spelling.
        settings: topics, broker and symbols file.
        publisher: the caller closes it.
        stop: ends the producer when it is set.
        endpoint: replaces the exchange's URL. The exchange's own REST interface is then not used.
        rest_endpoint: replaces the exchange's REST interface.
        options: timings and bounds of the connections.
        markets: the result of ccxt's `fetch_markets()`, for an exchange that is reached through ccxt.
        flush_s: after `stop`, a full buffer is waited for at most this long.

    Raises:
        UnknownExchangeError: neither a module of ours nor ccxt has the exchange.
        MarketsMissingError: an exchange that is reached through ccxt has no `markets`, and REST may not be used.
        RegistryError: the symbols file cannot be used.
    """
    exchange = REGISTRY.get(code) or _exchange_of_ccxt(code)
    counters = LiveCounters()
    rate = options.requests or (exchange.rest.rate if exchange.rest else exchange.requests)
    venue_limits = VenueLimits(
        code, exchange.connects, rate, failures=options.breaker_failures, open_s=options.breaker_open_s
    )
    output = WaitingPublisher(code, publisher, counters, stop, flush_s)
    gaps = GapTracker(exchange, symbols, options, counters.gaps, GapEvents(publisher, settings, code))
    frames = FrameHandler(exchange, output, gaps, counters)
    context = StreamContext(exchange, options, venue_limits, counters, frames, gaps, endpoint, rest_endpoint)
    connections: Sequence[KeptConnection]
    client: TradesSource | None = None
    session: AbstractAsyncContextManager[object] = nullcontext()
    if code in REGISTRY:
        connections = [ReconnectingStream(context, chunk) for chunk in chunks(symbols, exchange.symbols_a_connection)]
        if exchange.rest is not None and context.asks_rest:
            client = session = RestClient(exchange, exchange.rest, venue_limits, rest_endpoint, endpoint)
        # Trades between the end of an earlier run and the first connection are missed.
        gaps.lost(symbols)
    else:
        from producers.ccxt.feed import CcxtFeed  # noqa: PLC0415  # ccxt takes seconds to load

        feed = CcxtFeed(context, symbols, markets)
        connections, session = [feed], feed.rest
        client = feed.rest if feed.heals else None
    pool = ConnectionPool(connections)
    healer = Healer(code, gaps, options, client, publish=frames.publish_healed, stale=pool.rotate, unknown=pool.unknown)
    read_resume_point = resume_reader(settings, exchange, symbols, options.resume_messages)
    return LiveProducer(stop, counters, venue_limits, output, gaps, pool, healer, client, session, read_resume_point)


def _exchange_of_ccxt(code: str) -> Exchange:
    from producers.ccxt.feed import exchange_named  # noqa: PLC0415  # as above

    exchange = exchange_named(code)
    if exchange is None:
        raise UnknownExchangeError(
            f"no producer for the exchange {code!r}: use one of {', '.join(REGISTRY)}, or a name that ccxt knows"
            " (`python -c 'import ccxt; print(ccxt.exchanges)'`)"
        )
    return exchange


class LiveProducer:
    """Runs the parts of a producer, and reports their state. `live_producer` makes it."""

    def __init__(
        self,
        stop: asyncio.Event,
        counters: LiveCounters,
        venue_limits: VenueLimits,
        output: WaitingPublisher,
        gaps: GapTracker,
        pool: ConnectionPool,
        healer: Healer,
        client: TradesSource | None,
        session: AbstractAsyncContextManager[object],
        read_resume_point: Callable[[threading.Event], ResumePoint],
    ) -> None:
        """`client` is used only while `session` is open. `read_resume_point` ends early when its event is set."""
        self._stop = stop
        self.counters, self.venue_limits, self.pool = counters, venue_limits, pool
        self._output, self._gaps, self._healer = output, gaps, healer
        self._client, self._session, self._read_resume_point = client, session, read_resume_point

    async def run(self) -> None:
        """Run until `stop` is set.

        Raises:
            DeliveryError: the publisher cannot go on.
        """
        stop = self._stop
        async with self._session:
            tasks = self.pool.start(stop)
            tasks.append(asyncio.ensure_future(self._healer.run(stop)))
            tasks.append(asyncio.ensure_future(self._resume(stop)))
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            finally:
                stop.set()
                self._output.deadline()
                results = await asyncio.gather(*tasks, return_exceptions=True)
                self._gaps.end()
            for result in results:
                if isinstance(result, BaseException):
                    raise result

    def statuses(self) -> dict[str, SymbolStatus]:
        """The state of each symbol, in the given order."""
        return self.pool.statuses()

    def troubles(self) -> dict[str, str]:
        """What is wrong, by name; empty if the trades of every symbol arrive."""
        refused = troubled(self.statuses())
        return self.unready() | ({"symbols": trouble_text(refused)} if refused else {})

    def unready(self) -> dict[str, str]:
        """Why the producer is not ready, by name. A symbol that the exchange refuses does not count."""
        reasons = {}
        up, wanted = self.pool.up, len(self.pool)
        if up < wanted:
            reasons["connections"] = f"{wanted - up} of {wanted} are not up or not subscribed yet"
        for interface, state in self.venue_limits.states.items():
            if state == OPEN:
                reasons[interface] = f"the {interface} circuit breaker is open after repeated failures"
        if self._output.is_full:
            reasons["broker"] = "the buffer is full, reading stands still"
        return reasons

    def time_left_s(self) -> float:
        """Seconds that are left of `flush_s`, which begins when `stop` is set."""
        return self._output.time_left_s()

    async def _resume(self, stop: asyncio.Event) -> None:
        """Read the resume point while the stream runs already, so that a broker that is away does not delay it."""
        given_up = threading.Event()
        reading = asyncio.ensure_future(asyncio.to_thread(self._read_resume_point, given_up))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait([reading, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        given_up.set()
        resume_point = await reading
        if stop.is_set():
            return
        if self._client is not None:
            self._client.resume(resume_point.published)
        self._gaps.resume(resume_point)
