"""Runs a live producer with its publisher, health and metrics until it is told to stop, then flushes."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Sequence

from config.markets import Markets
from config.settings import Settings
from producers import health, metrics
from producers.connection import Limits
from producers.gap_notes import GapNotes
from producers.lane import LiveReport
from producers.producer import FLUSH_S, LiveProducer
from producers.publisher import Publisher, PublishError

__all__ = ["LiveProducer", "LiveReport", "run", "run_until_signal"]

_TICK_S = 0.25
#: How late an acknowledgement may be noticed.
_ACKNOWLEDGED_S = 0.01
_FLUSH_S = FLUSH_S


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
    publisher: Publisher | None = None,
    limits: Limits | None = None,
    markets: Markets | None = None,
) -> LiveReport:
    """Produce until `stop` is set, `duration_s` is over or `until` holds (asked a few times a second).

    At the end everything taken is flushed. Where settings name a metrics port, `/metrics`, `/healthz` and
    `/readyz` are served on it.

    `markets`, as ccxt's `fetch_markets()` gives them, is for exchanges that are reached through ccxt: without it the
    exchange is asked.

    Raises:
        UnknownExchangeError: neither a module of ours nor ccxt has the exchange.
        UnknownSymbolError, MarketsMissingError: of an exchange that is reached through ccxt.
        PublishError: something was not delivered; the message says how much.
        OSError: the metrics port is taken.
    """
    stop = stop or asyncio.Event()
    started = time.monotonic()
    # Without a limit the buffer holds what an absent broker would otherwise lose, and reading stops when it is full.
    own = publisher is None
    publisher = publisher or Publisher(settings, delivery_timeout_s=0)
    limits = limits or Limits(max_frame_bytes=settings.kafka_max_message_bytes)
    producer = LiveProducer(
        exchange,
        symbols,
        publisher,
        endpoint=endpoint,
        rest_endpoint=rest_endpoint,
        limits=limits,
        note=GapNotes(publisher, settings, exchange),
        flush_s=_FLUSH_S,
        markets=markets,
    )
    loop = asyncio.ensure_future(producer.run(stop))
    serving = asyncio.ensure_future(_serve_acknowledgements(publisher))
    server = None
    try:
        if settings.metrics_port:
            server, _ = await health.serve(
                settings.metrics_host,
                settings.metrics_port,
                lambda: {"loop": "the producer has ended"} if loop.done() else {},
                producer.troubles,
            )
        while not loop.done():
            await asyncio.wait([loop], timeout=_TICK_S)
            statistics = publisher.statistics
            metrics.UNDELIVERED.labels(exchange).set(statistics.buffered)
            metrics.FAILED.labels(exchange).set(statistics.failed)
            over = duration_s is not None and time.monotonic() - started >= duration_s
            if over or (until is not None and until(producer.report)):
                stop.set()
        await loop
    finally:
        stop.set()
        await asyncio.gather(loop, return_exceptions=True)
        serving.cancel()
        if server is not None:
            await server.cleanup()
        producer.report.seconds = time.monotonic() - started
        await asyncio.to_thread(_end, publisher, own, producer.report)
    return producer.report


async def _serve_acknowledgements(publisher: Publisher) -> None:
    """Also while the exchange sends nothing."""
    while True:
        await asyncio.sleep(_ACKNOWLEDGED_S)
        # On this thread: in another one each callback would wait its turn at the interpreter.
        publisher.poll(0)


def _end(publisher: Publisher, own: bool, report: LiveReport) -> None:
    """Flush, and say what of it is lost."""
    try:
        (publisher.close if own else publisher.flush)(_FLUSH_S)
    except PublishError as error:
        if report.undelivered:
            error.add_note(_untaken(report.undelivered))
        raise
    if report.undelivered:
        raise PublishError(_untaken(report.undelivered))


def _untaken(count: int) -> str:
    return (
        f"{count} messages were read from the exchange and never taken by the full buffer; check the broker, then"
        " `medallion backfill` the time: duplicates are harmless"
    )


def run_until_signal(
    exchange: str,
    symbols: Sequence[str],
    settings: Settings,
    *,
    endpoint: str | None = None,
    rest_endpoint: str | None = None,
    duration_s: float | None = None,
    markets: Markets | None = None,
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
        )

    return asyncio.run(main())
