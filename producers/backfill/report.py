"""The counts of a back-fill so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from producers.backfill.gaps import GapCounts


@dataclass(slots=True)
class BackfillReport:
    """Counts of a run.

    `done`: parts (days or windows) that are done, by this run or (`skipped`) an earlier one. `missing`: sentences about
    trades that the exchange does not serve. `left_out`: complete days that were not read.

    `share`: the finished part of the work, 0 to 1. `gaps`: newly found gaps, which lack `gap_trades`. `gaps_healed`:
    gaps that are full now. `left_days`: days that were read and whose Silver has left ClickHouse, so that it takes
    their trades as new.
    """

    parts: int = 0
    done: int = 0
    skipped: int = 0
    published: int = 0
    share: float = 0.0
    left_out: int = 0
    missing: list[str] = field(default_factory=list)
    gaps: int = 0
    gap_trades: int = 0
    gaps_healed: int = 0
    left_days: list[str] = field(default_factory=list)

    def take_gaps(self, counts: GapCounts) -> None:
        """Report the counts of the whole run."""
        self.gaps, self.gap_trades, self.gaps_healed = counts.found, counts.ids_missing, counts.healed


@dataclass(slots=True)
class DumpReport(BackfillReport):
    """Counts of a run over files.

    `changed`: files that an earlier run read with another checksum. `failures`: each file that is not done, and why.

    `rows`: rows of the files that were read. Of these, `dead` are no trades and become dead letters, and `repeated`
    have the id of an earlier row of their file. `empty`: files without trades, as the exchange's checksum file
    confirms. `ignored`: other files of the days, which are not read, and why. `shrunk`: changed files that have fewer
    trades than before. Silver keeps those that they have lost.
    """

    changed: int = 0
    rows: int = 0
    dead: int = 0
    repeated: int = 0
    empty: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    shrunk: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


# Called with the report after every batch.
Progress = Callable[[BackfillReport], None]
