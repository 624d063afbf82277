"""The live producer: one connection to one exchange, kept up, every frame parsed and published."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog
from prometheus_client import start_http_server
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_when_event_set,
    wait_exponential_jitter,
)
from websockets.exceptions import WebSocketException

from config.settings import Settings
from producers import metrics
from producers.connection import Connection, ConnectionLostError, Limits
from producers.envelope import Envelope, envelopes
from producers.exchanges import exchange as exchange_of
from producers.exchanges.model import ERROR, Control, Parsed, Trades
from producers.publisher import Publisher
from producers.schedule import frame_time_us
from producers.tally import Tally

_TICK_S = 0.25
_POLL_S = 0.1
_FLUSH_S = 30.0
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class LiveReport(Tally):
    """What a live producer received and published; `disconnects` by cause."""

    connections: int = 0
    disconnects: Counter[str] = field(default_factory=Counter)


class LiveProducer:
    """Connect, subscribe, parse, publish; again after every loss, until `stop` is set."""

    def __init__(
        self,
        code: str,
        symbols: Sequence[str],
        publisher: Publisher,
        *,
        endpoint: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Nothing is connected yet.

        Args:
            code: exchange code.
            symbols: in the exchange's own spelling.
            publisher: stays open.
            endpoint: instead of the exchange's own URL.
            limits: of the connection.

        Raises:
            UnknownExchangeError: no module for the code.
        """
        self.report = LiveReport()
        self._exchange = exchange_of(code)
        self._symbols = symbols
        self._publisher = publisher
        self._url = endpoint or self._exchange.url
        self._limits = limits or Limits()
        self._stop = asyncio.Event()
        self._log = _log.bind(exchange=code)
        self._frames = metrics.FRAMES.labels(code)
        self._bytes = metrics.BYTES.labels(code)
        self._trades = metrics.TRADES.labels(code)
        self._lag = metrics.LAG.labels(code)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set.

        Raises:
            PublishError: the publisher cannot go on.
        """
        self._stop = stop
        while not stop.is_set():
            # A connection that was healthy ends the loop below, so that the back-off starts small again.
            await self._retrying()(self._session)

    def _retrying(self) -> AsyncRetrying:
        return AsyncRetrying(
            retry=retry_if_exception_type((OSError, WebSocketException, ConnectionLostError)),
            wait=wait_exponential_jitter(multiplier=0.5, max=self._limits.back_off_s, jitter=1.0),
            stop=stop_when_event_set(self._stop),  # type: ignore[arg-type]  # asks only for is_set()
            sleep=self._sleep,
            before_sleep=self._say_retry,
            retry_error_callback=lambda _state: None,
        )

    async def _session(self) -> None:
        """One connection, from connecting to its end; raises only where it never became healthy."""
        code = self._exchange.code
        connection = Connection(self._exchange, self._url, self._symbols, self._limits)
        started, healthy = time.monotonic(), False
        try:
            async with connection.open(self._stop) as frames:
                self.report.connections += 1
                metrics.CONNECTED.labels(code).set(1)
                async for frame in frames:
                    healthy = True
                    await self._take(frame)
        except (OSError, WebSocketException, ConnectionLostError) as error:
            cause = error.cause if isinstance(error, ConnectionLostError) else type(error).__name__
            self.report.disconnects[cause] += 1
            metrics.DISCONNECTS.labels(code, cause).inc()
            self._log.warning("connection lost", cause=cause, error=str(error), url=self._url)
            if not healthy or time.monotonic() - started < self._limits.healthy_after_s:
                raise
        finally:
            metrics.CONNECTED.labels(code).set(0)

    async def _take(self, frame: bytes) -> None:
        received_ns = time.time_ns()
        parsed = self._exchange.parse(frame)
        self._count(frame, parsed, received_ns)
        messages = envelopes(self._exchange.code, frame, parsed, received_ns // 1_000)
        if messages:
            taken = self._publisher.offer(messages)
            if taken < len(messages):
                await self._wait_for_room(messages[taken:])
            self.report.published += len(messages)

    async def _wait_for_room(self, messages: Sequence[Envelope]) -> None:
        """Reading stands still meanwhile, so that the exchange's socket is the only buffer that grows."""
        started = time.monotonic()
        while messages:
            await asyncio.to_thread(self._publisher.poll, _POLL_S)
            messages = messages[await asyncio.to_thread(self._publisher.offer, messages) :]
            if self._stop.is_set() and time.monotonic() - started > _FLUSH_S:
                self._log.error("stopped while the broker takes nothing", undelivered=len(messages))
                self.report.published -= len(messages)
                break
        metrics.BACK_PRESSURE.labels(self._exchange.code).inc(time.monotonic() - started)

    def _count(self, frame: bytes, parsed: Parsed, received_ns: int) -> None:
        self.report.count(frame, parsed)
        self._frames.inc()
        self._bytes.inc(len(frame))
        if isinstance(parsed, Trades):
            self._trades.inc(len(parsed.records))
            time_us = frame_time_us(parsed)
            if time_us is not None:
                self._lag.observe(received_ns / 1e9 - time_us / 1e6)
        elif isinstance(parsed, Control):
            metrics.CONTROL.labels(self._exchange.code, parsed.kind).inc()
            if parsed.kind == ERROR:
                self._log.error("the exchange reports an error", message=frame[:1_000].decode(errors="replace"))
        else:
            metrics.UNRECOGNISED.labels(self._exchange.code).inc()

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    def _say_retry(self, state: RetryCallState) -> None:
        self._log.info("connecting again", attempt=state.attempt_number, wait_s=round(state.upcoming_sleep, 2))


async def run(
    exchange: str,
    symbols: Sequence[str],
    settings: Settings,
    *,
    endpoint: str | None = None,
    stop: asyncio.Event | None = None,
    duration_s: float | None = None,
    until: Callable[[LiveReport], bool] | None = None,
    publisher: Publisher | None = None,
    limits: Limits | None = None,
) -> LiveReport:
    """Produce until `stop` is set, `duration_s` is over or `until` holds (asked a few times a second).

    At the end everything taken is flushed.

    Raises:
        UnknownExchangeError: no module for the code.
        PublishError: something was not delivered; the message says how much.
    """
    stop = stop or asyncio.Event()
    started = time.monotonic()
    # Without a limit the buffer holds what an absent broker would otherwise lose, and reading stops when it is full.
    own = publisher is None
    publisher = publisher or Publisher(settings, delivery_timeout_s=0)
    limits = limits or Limits(max_frame_bytes=settings.kafka_max_message_bytes)
    producer = LiveProducer(exchange, symbols, publisher, endpoint=endpoint, limits=limits)
    loop = asyncio.ensure_future(producer.run(stop))
    try:
        while not loop.done():
            await asyncio.wait([loop], timeout=_TICK_S)
            await asyncio.to_thread(publisher.poll, 0)
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
        await asyncio.to_thread(publisher.close if own else publisher.flush, _FLUSH_S)
        producer.report.seconds = time.monotonic() - started
    return producer.report


def run_until_signal(
    exchange: str,
    symbols: Sequence[str],
    settings: Settings,
    *,
    endpoint: str | None = None,
    duration_s: float | None = None,
) -> LiveReport:
    """`run` in a process of its own: SIGTERM and SIGINT flush and end it; metrics where settings name a port.

    Raises:
        as `run`.
    """

    async def main() -> LiveReport:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        return await run(exchange, symbols, settings, endpoint=endpoint, stop=stop, duration_s=duration_s)

    if settings.metrics_port:
        start_http_server(settings.metrics_port, settings.metrics_host)
    return asyncio.run(main())
