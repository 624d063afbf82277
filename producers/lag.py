"""How far behind an exchange's trades we are: lag to the broker, and the offset of the local clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from producers import metrics
from producers.exchanges.model import Trades, frame_time_us

#: At most one frame in this time is measured: a busy stream has thousands.
_SAMPLE_NS = 1_000_000
_WINDOW_S = 60.0


class LagSampler:
    """Measures one exchange code."""

    def __init__(self, code: str) -> None:
        """Nothing is measured yet."""
        self._lag = metrics.LAG.labels(code)
        self._clock = _ClockOffset(code)
        self._sampled_ns = 0

    def received(self, trades: Trades, received_ns: int) -> Callable[[], None] | None:
        """A frame was received (ns since the epoch, local clock).

        Returns:
            what to call when the broker has acknowledged the frame; None where this frame is not measured: one was
            within the last millisecond, or its trades have no time.
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

    Latency is never negative: a negative minimum is a lower bound of how far the local clock is behind.
    """

    def __init__(self, code: str) -> None:
        self._gauge = metrics.CLOCK_OFFSET.labels(code)
        self._started_s = 0.0
        self._least = self._before = float("inf")

    def observe(self, lag_s: float, now_s: float) -> None:
        """A trade was received at `now_s` (Unix s, local clock), `lag_s` after its own time."""
        if now_s - self._started_s >= _WINDOW_S:
            self._before = self._least if now_s - self._started_s < 2 * _WINDOW_S else float("inf")
            self._least, self._started_s = float("inf"), now_s
        if lag_s < self._least:
            self._least = lag_s
            self._gauge.set(min(self._least, self._before))
