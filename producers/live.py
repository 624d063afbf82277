"""Runs a live producer with its publisher, health and metrics until it is told to stop, then flushes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence

from config.settings import Settings
from config.symbols.markets import Markets
from producers import health, metrics
from producers.counters import FrameMetrics, LiveReport
from producers.kafka.publisher import FLUSH_S, KafkaPublisher
from producers.options import ProducerOptions
from producers.producer import live_producer
from producers.status import ProducerState, StatusFile
from producers.stream.symbol_states import SymbolMetrics, troubled

_TICK_S = 0.25
_SHOWN_S = 1.0
# An acknowledgement is noticed at most this late.
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
    until: Callable[[LiveReport], bool] | None = None,
    publisher: KafkaPublisher | None = None,
    options: ProducerOptions | None = None,
    markets: Markets | None = None,
    status_file: StatusFile | None = None,
    flush_s: float = FLUSH_S,
) -> LiveReport:
    """Produce until `stop` is set, `duration_s` is over or `until` holds (asked a few times a second).

    At the end the publisher is flushed, for at most `flush_s`. If the settings name a metrics port, `/metrics`,
    `/healthz`, `/readyz` and `/status` are served there. `status_file` receives the state every second.

    `markets`: what ccxt's `fetch_markets()` returns, for an exchange that is reached through ccxt. Without it the
    exchange is asked.

    Raises:
        UnknownExchangeError: neither a module of ours nor ccxt has the exchange.
        UnknownSymbolError, MarketsMissingError: an exchange that is reached through ccxt lacks a symbol or its markets.
        DeliveryError: something was not delivered; the message says how much of which symbol.
        OSError: the metrics port is taken.
    """
    stop = stop or asyncio.Event()
    started = time.monotonic()
    # Without a limit the buffer holds what an absent broker would otherwise lose, and reading stops when it is full.
    own = publisher is None
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
    counting = FrameMetrics(exchange, producer.report)
    # The counter must exist before its first error: Prometheus sees no increase in a counter's first value.
    metrics.DELIVERY_ERRORS.labels(exchange)
    loop = asyncio.ensure_future(producer.run())
    serving = asyncio.ensure_future(_serve_acknowledgements(publisher))
    server = None
    born = time.time()

    def state() -> ProducerState:
        report, statuses = producer.report, producer.statuses()
        host = f"http://{settings.metrics_host}:{settings.metrics_port}"
        return ProducerState(
            exchange=exchange,
            symbols=[*symbols],
            pid=os.getpid(),
            broker=settings.kafka_bootstrap_servers,
            started_at=born,
            updated_at=time.time(),
            connections=producer.pool.up,
            lanes=len(producer.pool),
            breakers=producer.venue_limits.states,
            troubles=producer.troubles(),
            trades=report.trades,
            published=report.published,
            undelivered=publisher.statistics.buffered,
            disconnects=report.disconnects.total(),
            gaps_open=report.gaps.open,
            metrics_url=host if settings.metrics_port else "",
            symbol_states={symbol: one.state.value for symbol, one in statuses.items()},
            symbol_troubles={symbol: one.words for symbol, one in troubled(statuses).items()},
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
            if over or (until is not None and until(producer.report)):
                stop.set()
        await loop
    finally:
        stop.set()
        await asyncio.gather(loop, return_exceptions=True)
        counting.show()
        serving.cancel()
        if server is not None:
            await server.cleanup()
        producer.report.seconds = time.monotonic() - started
        try:
            await asyncio.to_thread(publisher.close if own else publisher.flush, producer.time_left_s())
        finally:
            if status_file is not None:
                status_file.end()
    return producer.report


async def _serve_acknowledgements(publisher: KafkaPublisher) -> None:
    """Serve acknowledgements, even while the exchange sends nothing."""
    while True:
        await asyncio.sleep(_ACKNOWLEDGED_S)
        # On this thread: on another one each callback would wait for the interpreter's lock.
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
) -> LiveReport:
    """`run` in a process of its own: SIGTERM and SIGINT flush and end it.

    Raises:
        as `run`.
    """

    async def main() -> LiveReport:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
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
