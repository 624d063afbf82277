"""A gap: trades of a symbol that the stream did not bring."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from producers.gaps.id_ranges import IdRanges
from producers.timestamps import now_us

OPEN, HEALED, UNFILLABLE = "open", "healed", "unfillable"


@dataclass(slots=True, eq=False)
class Gap:
    """Trades of `symbol` that the stream did not bring.

    Between the trades at `from_us` and `to_us` (µs, UTC); ids are text, "" where they have no order. `missing` counts
    what is still not published of the `found`.
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
    #: On the monotonic clock, since when this process heals it.
    since_s: float = field(default_factory=time.monotonic)

    @property
    def missing(self) -> int:
        """Not published yet."""
        return self.ids.count if self.ids is not None else (self.found if self.state != HEALED else 0)

    def mark_healed(self) -> None:
        """All its trades are published."""
        self.state, self.healed_us = HEALED, now_us()

    def is_within(self, other: Gap) -> bool:
        """Whether all its ids are of another one's span; never where ids have no order."""
        if self.ids is None or other.ids is None:
            return False
        return int(other.from_id) <= int(self.from_id) and int(self.to_id) <= int(other.to_id)
