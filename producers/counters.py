"""What went in and what went out, counted the same way for live and recorded messages."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from producers.exchanges.model import Control, Parsed, Trades


@dataclass(slots=True)
class Tally:
    """Counts of one run.

    Every frame holds trades, is a control message (by kind) or is unrecognised; `published` messages, one a
    trade and one an unrecognised frame, were handed to the publisher; `size` counts the frames' bytes.
    """

    frames: int = 0
    trade_frames: int = 0
    trades: int = 0
    control: Counter[str] = field(default_factory=Counter)
    unrecognised: int = 0
    published: int = 0
    size: int = 0
    seconds: float = 0.0

    def count(self, frame: bytes, parsed: Parsed) -> None:
        """Take one frame into account."""
        self.frames += 1
        self.size += len(frame)
        if isinstance(parsed, Trades):
            self.trade_frames += 1
            self.trades += len(parsed.records)
        elif isinstance(parsed, Control):
            self.control[parsed.kind] += 1
        else:
            self.unrecognised += 1


@dataclass(frozen=True, slots=True)
class PublisherStatistics:
    """Counts since the publisher started; `buffered` messages are not yet acknowledged."""

    accepted: int
    delivered: int
    buffered: int
    failed: int
    shortened: int
    bytes: int
