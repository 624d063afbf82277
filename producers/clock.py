"""How far the local clock is off an exchange's, as well as a one-way stream can tell."""

from __future__ import annotations

from producers import metrics

_WINDOW_S = 60.0


class Clock:
    """The least time from trade to receipt in the last one to two minutes: latency plus clock offset.

    Latency is never negative: a negative minimum is a lower bound of how far the local clock is behind.
    """

    def __init__(self, code: str) -> None:
        """Of one exchange code."""
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
