"""What becomes of a frame: parsed, counted, published, and its trades told to whoever looks for gaps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import structlog

from producers import metrics
from producers.counters import LiveReport
from producers.exchanges.model import ERROR, Control, Exchange, Parsed, Trade, Trades
from producers.gaps.tracker import GapTracker
from producers.kafka.back_pressure import WaitingPublisher
from producers.kafka.envelope import REST, envelopes
from producers.lag import LagSampler
from producers.timestamps import now_us

_log = structlog.get_logger(__name__)


class FrameHandler:
    """Handles one exchange's frames."""

    def __init__(self, exchange: Exchange, output: WaitingPublisher, gaps: GapTracker, report: LiveReport) -> None:
        """Frames go to `output`, their trades to `gaps`, their counts to `report`."""
        self._exchange, self._output, self._gaps, self._report = exchange, output, gaps, report
        self._lag = LagSampler(exchange.code)
        self._log = _log.bind(exchange=exchange.code)

    async def take(self, frame: bytes) -> Parsed:
        """Parse a frame and handle it; returns when there was room for it.

        Raises:
            PublishError: the publisher cannot go on.
        """
        parsed = self._exchange.parse(frame)
        await self.take_parsed(frame, parsed)
        return parsed

    async def take_parsed(self, frame: bytes, parsed: Parsed) -> None:
        """As `take`, of a frame that somebody else has parsed."""
        received_ns = time.time_ns()
        self._report.count(frame, parsed)
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
            PublishError: the publisher cannot go on.
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
