"""Counts what a back-fill has done so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from producers.backfill.gaps import GapCounts


@dataclass(slots=True)
class BackfillReport:
    """Counts; `skipped` parts (days or symbols) were done by an earlier run. `missing` says what was not to be had.

    `share` of the work that is done, 0 to 1. `gaps` were found and noted, which lack `gap_trades`; `gaps_healed` are
    full now.
    """

    parts: int = 0
    skipped: int = 0
    published: int = 0
    share: float = 0.0
    missing: list[str] = field(default_factory=list)
    gaps: int = 0
    gap_trades: int = 0
    gaps_healed: int = 0

    def take_gaps(self, counts: GapCounts) -> None:
        """Report these counts, which are of the whole run."""
        self.gaps, self.gap_trades, self.gaps_healed = counts.found, counts.ids_missing, counts.healed


@dataclass(slots=True)
class DumpReport(BackfillReport):
    """Of files. `changed` were read before with another checksum. `failures` name each file that is not done.

    Of the `rows` of the files that were read `dead` are no trades, and published for the DLQ; `repeated` have the id of
    an earlier row of their file. `empty` files hold no trades, as the venue's checksum file says.
    """

    changed: int = 0
    rows: int = 0
    dead: int = 0
    repeated: int = 0
    empty: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


#: Told of the report after every batch.
Progress = Callable[[BackfillReport], None]
