"""Runs a live producer with its publisher, health and metrics. When it is stopped, it flushes the publisher."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence

from config.process.garbage import collect_rarely
from config.process.stopping import stop_signals
from config.settings import Settings
from config.symbols.markets import Markets
from producers import health, metrics
from producers.counters import FrameMetrics, LiveCounters
from producers.kafka.publisher import FLUSH_S, KafkaPublisher
from producers.options import ProducerOptions
from producers.producer import live_producer
from producers.status import ProducerState, StatusFile
from producers.stream.symbol_states import SymbolMetrics, troubled

_TICK_S = 0.25
_SHOWN_S = 1.0
# An acknowledgement is served at most this late.
_ACKNOWLEDGED_S = 0.01


async def run(
    exchange: str,
    symbols: Sequence[str],
    settings: Settings,
    *,
    endpoint: str | None = None,
    rest_endpoint: str | None = None,
    stop: asyncio.Event | None = None,
    duration_s: float | None = None,
    until: Callable[[LiveCounters], bool] | None = None,
    publisher: KafkaPublisher | None = None,
    options: ProducerOptions | None = None,
    markets: Markets | None = None,
    status_file: StatusFile | None = None,
    flush_s: float = FLUSH_S,
) -> LiveCounters:
    """Produce until `stop` is set, `duration_s` is over, or `until` returns true (it is called a few times a second).

    At the end the publisher is flushed, for at most `flush_s`. If the settings name a metrics port, `/metrics`,
    `/healthz`, `/readyz` and `/status` are served there. `status_file` receives the state every second.

    `markets`: the result of ccxt's `fetch_markets()`, for an exchange that is reached through ccxt. Without it the
    list is requested from the exchange.

    Raises:
        UnknownExchangeError: neither a module of ours nor ccxt has the exchange.
        UnknownSymbolError, MarketsMissingError: an exchange that is reached through ccxt lacks a symbol or its markets.
        DeliveryError: messages were not delivered; the error counts them by symbol.
        OSError: the metrics port is taken.
    """
    stop = stop or asyncio.Event()
    started = time.monotonic()
    # Without a time limit, messages stay in the buffer while the broker is away, and reading stops when it is full.
    is_own_publisher = publisher is None
    publisher = publisher or KafkaPublisher(settings, delivery_timeout_s=0)
    options = options or ProducerOptions(
        max_frame_bytes=settings.kafka_max_message_bytes, quiet_s=settings.producer_quiet_check_s
    )
    producer = live_producer(
        exchange,
        symbols,
        settings,
        publisher,
        stop,
        endpoint=endpoint,
        rest_endpoint=rest_endpoint,
        options=options,
        flush_s=flush_s,
        markets=markets,
    )
    counting = FrameMetrics(exchange, producer.counters)
    # The counter must exist before the first error: Prometheus sees no increase in a counter's first value.
    metrics.DELIVERY_ERRORS.labels(exchange)
    loop = asyncio.ensure_future(producer.run())
    serving = asyncio.ensure_future(_serve_acknowledgements(publisher))
    server = None
    started_at = time.time()

    def state() -> ProducerState:
        counters, statuses = producer.counters, producer.statuses()
        host = f"http://{settings.metrics_host}:{settings.metrics_port}"
        return ProducerState(
            exchange=exchange,
            symbols=[*symbols],
            pid=os.getpid(),
            broker=settings.kafka_bootstrap_servers,
            started_at=started_at,
            updated_at=time.time(),
            connections=producer.pool.up,
            wanted_connections=len(producer.pool),
            breakers=producer.venue_limits.states,
            troubles=producer.troubles(),
            trades=counters.trades,
            published=counters.published,
            undelivered=publisher.statistics.buffered,
            disconnects=counters.disconnects.total(),
            gaps_open=counters.gaps.open,
            metrics_url=host if settings.metrics_port else "",
            symbol_states={symbol: status.state.value for symbol, status in statuses.items()},
            symbol_troubles={symbol: status.words for symbol, status in troubled(statuses).items()},
        )

    shown, shown_symbols = 0.0, SymbolMetrics(exchange)
    try:
        if settings.metrics_port:
            server, _ = await health.serve(
                settings.metrics_host,
                settings.metrics_port,
                lambda: {"loop": "the producer has ended"} if loop.done() else {},
                producer.unready,
                state,
            )
        while not loop.done():
            await asyncio.wait([loop], timeout=_TICK_S)
            counting.show()
            metrics.UNDELIVERED.labels(exchange).set(publisher.statistics.buffered)
            if time.monotonic() - shown >= _SHOWN_S:
                shown = time.monotonic()
                shown_symbols.show(producer.statuses())
                if status_file is not None:
                    status_file.show(state())
            over = duration_s is not None and time.monotonic() - started >= duration_s
            if over or (until is not None and until(producer.counters)):
                stop.set()
        await loop
    finally:
        stop.set()
        await asyncio.gather(loop, return_exceptions=True)
        counting.show()
        serving.cancel()
        if server is not None:
            await server.cleanup()
        producer.counters.seconds = time.monotonic() - started
        try:
            end = publisher.close if is_own_publisher else publisher.flush
            await asyncio.to_thread(end, producer.time_left_s())
        finally:
            if status_file is not None:
                status_file.end()
    return producer.counters


async def _serve_acknowledgements(publisher: KafkaPublisher) -> None:
    """Serve acknowledgements, even while the exchange sends nothing."""
    while True:
        await asyncio.sleep(_ACKNOWLEDGED_S)
        # Not on another thread: there, each callback would wait for the interpreter's lock.
        publisher.poll(0)


def run_until_signal(
    exchange: str,
    symbols: Sequence[str],
    settings: Settings,
    *,
    endpoint: str | None = None,
    rest_endpoint: str | None = None,
    duration_s: float | None = None,
    markets: Markets | None = None,
    flush_s: float = FLUSH_S,
) -> LiveCounters:
    """As `run`, in a process of its own. SIGTERM, SIGINT and SIGHUP stop it; the publisher is still flushed.

    Raises:
        as `run`.
    """

    async def main() -> LiveCounters:
        stop = asyncio.Event()
        for number in stop_signals():
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        collect_rarely()
        return await run(
            exchange,
            symbols,
            settings,
            endpoint=endpoint,
            rest_endpoint=rest_endpoint,
            stop=stop,
            duration_s=duration_s,
            markets=markets,
            status_file=StatusFile(),
            flush_s=flush_s,
        )

    return asyncio.run(main())
