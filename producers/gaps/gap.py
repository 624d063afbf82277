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

    `from_id`, `to_id`: the first and the last missing trade id. `ids`: the ids that are still missing; None if ids have
    no order. `found` trades were missing at first; `missing` of them still are. `detected_us`, `healed_us`: µs, UTC.
    `tries`: of healing. `due_s`: the time of the next try, on the monotonic clock.
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
        """The number of trades that are still missing."""
        return self.ids.count if self.ids is not None else (self.found if self.state != HEALED else 0)

    def mark_healed(self) -> None:
        """Record that all trades of the gap are published."""
        self.state, self.healed_us = HEALED, now_us()

    def is_within(self, other: Gap) -> bool:
        """Whether the ids of this gap lie within those of another one. False if ids have no order."""
        if self.ids is None or other.ids is None:
            return False
        return int(other.from_id) <= int(self.from_id) and int(self.to_id) <= int(other.to_id)
