"""Handles frames: parses, counts and publishes them, passes their trades to the gap tracker, measures their lag."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from producers import metrics
from producers.counters import LiveCounters
from producers.exchanges.model import ERROR, Control, Exchange, Parsed, Trade, Trades, frame_time_us
from producers.gaps.tracker import GapTracker
from producers.kafka.back_pressure import WaitingPublisher
from producers.kafka.envelope import REST, envelopes
from producers.timestamps import now_us

_log = structlog.get_logger(__name__)
# The lag of at most one frame in this time is measured: a busy stream brings thousands.
_SAMPLE_NS = 1_000_000
_WINDOW_S = 60.0


class FrameHandler:
    """Handles one exchange's frames."""

    def __init__(self, exchange: Exchange, output: WaitingPublisher, gaps: GapTracker, counters: LiveCounters) -> None:
        """`output` publishes the messages. `gaps` gets the trades. `counters` is updated."""
        self._exchange, self._output, self._gaps, self._counters = exchange, output, gaps, counters
        self._lag = LagSampler(exchange.code)
        self._log = _log.bind(exchange=exchange.code)

    async def take(self, frame: bytes) -> Parsed:
        """Parse a frame and handle it. Returns once the publisher has room for it.

        Raises:
            DeliveryError: the publisher cannot go on.
        """
        parsed = self._exchange.parse(frame)
        await self.take_parsed(frame, parsed)
        return parsed

    async def take_parsed(self, frame: bytes, parsed: Parsed) -> None:
        """As `take`, for a frame that is already parsed."""
        received_ns = time.time_ns()
        self._counters.count(frame, parsed)
        acknowledged: Callable[[], None] | None = None
        if isinstance(parsed, Trades):
            acknowledged = self._lag.received(parsed, received_ns)
        else:
            self._count_other(frame, parsed)
        messages = envelopes(self._exchange.code, frame, parsed, received_ns // 1_000)
        if messages:
            await self._output.put(messages, acknowledged)
        if isinstance(parsed, Trades):
            self._gaps.observe(parsed.records)
        elif isinstance(parsed, Control) and parsed.placeholders:
            self._gaps.observe(parsed.placeholders)

    async def publish_healed(self, trades: Sequence[Trade]) -> None:
        """Publish trades that REST brought.

        Raises:
            DeliveryError: the publisher cannot go on.
        """
        messages = envelopes(self._exchange.code, b"", Trades([*trades]), now_us())
        await self._output.put(messages, source=REST)

    def _count_other(self, frame: bytes, parsed: Parsed) -> None:
        if isinstance(parsed, Control):
            metrics.CONTROL.labels(self._exchange.code, parsed.kind).inc()
            if parsed.kind == ERROR:
                self._log.error("the exchange reports an error", message=frame[:1_000].decode(errors="replace"))
        else:
            metrics.UNRECOGNISED.labels(self._exchange.code).inc()


class LagSampler:
    """Measures the lag and the clock offset of one exchange code."""

    def __init__(self, code: str) -> None:
        """Nothing is measured yet."""
        self._lag = metrics.LAG.labels(code)
        self._clock = _ClockOffset(code)
        self._sampled_ns = 0

    def received(self, trades: Trades, received_ns: int) -> Callable[[], None] | None:
        """A frame was received (ns since the epoch, local clock).

        Returns:
            a function to call when the broker has acknowledged the frame; None if the frame is not measured, because
            another one was within the last millisecond or its trades have no time.
        """
        if received_ns - self._sampled_ns < _SAMPLE_NS:
            return None
        traded_us = frame_time_us(trades)
        if traded_us is None:
            return None
        self._sampled_ns = received_ns
        self._clock.observe(received_ns / 1e9 - traded_us / 1e6, received_ns / 1e9)
        return partial(self._acknowledged, traded_us)

    def _acknowledged(self, traded_us: int) -> None:
        self._lag.observe(time.time() - traded_us / 1e6)


class _ClockOffset:
    """The least time from trade to receipt in the last one to two minutes: latency plus clock offset.

    Latency is never negative. If the minimum is negative, the local clock is behind by at least this time.
    """

    def __init__(self, code: str) -> None:
        self._gauge = metrics.CLOCK_OFFSET.labels(code)
        self._started_s = 0.0
        self._least = self._before = float("inf")

    def observe(self, lag_s: float, now_s: float) -> None:
        """Note a trade that was received at `now_s` (Unix s, local clock), `lag_s` after its own time."""
        if now_s - self._started_s >= _WINDOW_S:
            self._before = self._least if now_s - self._started_s < 2 * _WINDOW_S else float("inf")
            self._least, self._started_s = float("inf"), now_s
        if lag_s < self._least:
            self._least = lag_s
            self._gauge.set(min(self._least, self._before))
