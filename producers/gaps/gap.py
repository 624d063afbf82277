"""A gap: trades of a symbol that the stream did not bring."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from producers.gaps.id_ranges import IdRanges
from producers.timestamps import now_us

OPEN, HEALED, UNFILLABLE = "open", "healed", "unfillable"


@dataclass(slots=True, eq=False)
class Gap:
    """Trades of `symbol` that the stream did not bring, between the trades at `from_us` and `to_us` (µs, UTC).

    Ids are text; "" where ids have no order. `found` trades were missing at first; `missing` of them still are.
    """

    symbol: str
    from_id: str
    to_id: str
    from_us: int
    to_us: int
    found: int
    detected_us: int
    ids: IdRanges | None = None
    state: str = OPEN
    healed_us: int = 0
    tries: int = 0
    due_s: float = 0.0
    # Since when this process tries to heal the gap, in seconds of the monotonic clock.
    since_s: float = field(default_factory=time.monotonic)

    @property
    def missing(self) -> int:
        """How many of its trades are not published yet."""
        return self.ids.count if self.ids is not None else (self.found if self.state != HEALED else 0)

    def mark_healed(self) -> None:
        """Record that all its trades are published."""
        self.state, self.healed_us = HEALED, now_us()

    def is_within(self, other: Gap) -> bool:
        """Whether its ids lie within those of another gap. Always False where ids have no order."""
        if self.ids is None or other.ids is None:
            return False
        return int(other.from_id) <= int(self.from_id) and int(self.to_id) <= int(other.to_id)
