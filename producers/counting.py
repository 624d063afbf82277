"""What a run counts, as Prometheus counters: shown a few times a second, since a counter a frame costs too much."""

from __future__ import annotations

from producers import metrics
from producers.tally import Tally


class Counting:
    """Of one exchange code."""

    def __init__(self, code: str, tally: Tally) -> None:
        """`tally` goes on counting."""
        self._tally = tally
        self._counters = metrics.FRAMES.labels(code), metrics.BYTES.labels(code), metrics.TRADES.labels(code)
        self._shown = 0, 0, 0

    def show(self) -> None:
        """What was counted since the last time."""
        now = self._tally.frames, self._tally.size, self._tally.trades
        for counter, value, shown in zip(self._counters, now, self._shown, strict=True):
            counter.inc(value - shown)
        self._shown = now
