"""Counts of a run: messages read and messages published, live or recorded."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from producers import metrics
from producers.exchanges.model import Control, Parsed, Trades


@dataclass(slots=True)
class FrameCounts:
    """Counts of one run.

    Every frame holds trades, is a control message (counted by kind) or is unrecognised. `published` counts the messages
    that the publisher took: one for each trade and one for each unrecognised frame. `size`: bytes of the frames.
    `seconds`: duration of the run.
    """

    frames: int = 0
    trades: int = 0
    control: Counter[str] = field(default_factory=Counter)
    unrecognised: int = 0
    published: int = 0
    size: int = 0
    seconds: float = 0.0

    def count(self, frame: bytes, parsed: Parsed) -> None:
        """Count one frame."""
        self.frames += 1
        self.size += len(frame)
        if isinstance(parsed, Trades):
            self.trades += len(parsed.records)
        elif isinstance(parsed, Control):
            self.control[parsed.kind] += 1
        else:
            self.unrecognised += 1


@dataclass(slots=True)
class GapCounters:
    """Counts of gaps and of their trades.

    Trades: `found` were missing, `healed` of them are published since, `unfillable` are given up. Gaps: `gaps` in all,
    `open` now.
    """

    found: int = 0
    healed: int = 0
    unfillable: int = 0
    gaps: int = 0
    open: int = 0


@dataclass(slots=True)
class LiveCounters(FrameCounts):
    """Counts of a live producer.

    `connections`: opened ones. `rotations`: planned replacements. `disconnects`: lost connections by cause.
    `undelivered`: messages that were read, but that the full buffer did not take before the end.
    """

    connections: int = 0
    rotations: int = 0
    undelivered: int = 0
    gaps: GapCounters = field(default_factory=GapCounters)
    disconnects: Counter[str] = field(default_factory=Counter)


class FrameMetrics:
    """Shows the counts of one exchange code as Prometheus counters.

    Call `show` a few times a second. To increase the counters with every frame takes too much CPU.
    """

    def __init__(self, code: str, counts: FrameCounts) -> None:
        """`counts` may go on changing."""
        self._counts = counts
        self._counters = metrics.FRAMES.labels(code), metrics.BYTES.labels(code), metrics.TRADES.labels(code)
        self._shown = 0, 0, 0

    def show(self) -> None:
        """Add what was counted since the last call."""
        now = self._counts.frames, self._counts.size, self._counts.trades
        for counter, value, shown in zip(self._counters, now, self._shown, strict=True):
            counter.inc(value - shown)
        self._shown = now
