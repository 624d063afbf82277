"""Back-pressure: while the publisher's buffer is full, no frame is read, so the exchange's socket fills instead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from producers import metrics
from producers.counters import LiveCounters
from producers.kafka.envelope import Envelope
from producers.kafka.publisher import KafkaPublisher

_POLL_S = 0.1
_log = structlog.get_logger(__name__)


class WaitingPublisher:
    """Publishes one exchange's messages. A caller waits while the buffer is full."""

    def __init__(
        self, code: str, publisher: KafkaPublisher, counters: LiveCounters, stop: asyncio.Event, flush_s: float
    ) -> None:
        """`code`: the exchange code. `flush_s`: after `stop` is set, a caller waits at most this long for room."""
        self._code, self._publisher, self._counters = code, publisher, counters
        self._stop, self._flush_s = stop, flush_s
        self._give_up_s = float("inf")
        self._waiting = asyncio.Lock()
        self._log = _log.bind(exchange=code)

    @property
    def is_full(self) -> bool:
        """Whether a caller waits for room."""
        return self._waiting.locked()

    async def put(
        self, messages: Sequence[Envelope], acknowledged: Callable[[], None] | None = None, source: str = ""
    ) -> None:
        """As `KafkaPublisher.offer`, but wait until all envelopes are taken.

        If `stop` is set and `flush_s` is over, the remaining envelopes are counted as lost.

        Raises:
            DeliveryError: the publisher cannot go on.
        """
        # Callers that wait already come first.
        taken = 0 if self._waiting.locked() else self._publisher.offer(messages, acknowledged, source)
        self._counters.published += taken
        if taken < len(messages):
            await self._wait_for_room(messages[taken:], acknowledged, source)

    async def _wait_for_room(
        self, messages: Sequence[Envelope], acknowledged: Callable[[], None] | None, source: str
    ) -> None:
        """Wait for room. The caller reads no frame meanwhile, so the exchange's socket fills."""
        started = time.monotonic()
        async with self._waiting:
            while messages:
                taken = await asyncio.to_thread(self._publisher.offer, messages, acknowledged, source)
                self._counters.published += taken
                messages = messages[taken:]
                if messages and self._stop.is_set() and time.monotonic() > self.deadline():
                    self._log.error("stopped while the broker accepts nothing", undelivered=len(messages))
                    self._counters.undelivered += len(messages)
                    self._publisher.losses.abandon(message.key for message in messages)
                    break
                if messages:
                    await asyncio.to_thread(self._publisher.poll, _POLL_S)
        metrics.BACK_PRESSURE.labels(self._code).inc(time.monotonic() - started)

    def time_left_s(self) -> float:
        """Seconds that are left of `flush_s`, which begins when `stop` is set."""
        return max(self.deadline() - time.monotonic(), _POLL_S)

    def deadline(self) -> float:
        """The end of `flush_s` on the monotonic clock, s. `flush_s` begins with the first call."""
        self._give_up_s = min(self._give_up_s, time.monotonic() + self._flush_s)
        return self._give_up_s
