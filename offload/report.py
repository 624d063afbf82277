"""The report of an offload run, slice by slice, and its progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict

SliceStep = Literal["exporting", "exported", "committed", "done"]
Outcome = Literal["written", "unchanged", "kept", "rebuilt"]


class OffloadProgress(BaseModel):
    """One step of one slice: about to export, files written, snapshot committed, dead files removed."""

    model_config = ConfigDict(frozen=True)

    table: str
    slice: str
    step: SliceStep
    rows: int = 0


OnProgress = Callable[[OffloadProgress], None]
# Called before each step with its subject, the number of tables that are done, and the number of all tables.
OnTable = Callable[[str, int, int], None]


class SliceReport(BaseModel):
    """The outcome of one slice.

    `written`: committed in place of the earlier rows. `unchanged`: the cold table already has the rows. `kept`: the hot
    tier has fewer rows than the cold one (partitions were dropped, or Bronze rows merged into a later hour), so the
    cold rows stay; candles may also wait for a run that offloads Silver. `rebuilt`: candles computed from cold Silver,
    because a trade arrived after their hot partition was dropped. `final` is false while the slice is open; a later run
    replaces it.
    """

    model_config = ConfigDict(frozen=True)

    table: str
    slice: str
    outcome: Outcome
    rows: int
    files: int = 0
    bytes: int = 0
    final: bool = True


class OffloadReport(BaseModel):
    """Every slice that the run compared, and the duration of the run (`seconds`)."""

    model_config = ConfigDict(frozen=True)

    slices: tuple[SliceReport, ...]
    seconds: float

    def rows(self, table: str) -> int:
        """Rows of all slices of the table, with any outcome."""
        return sum(part.rows for part in self.slices if part.table == table)

    def written(self, table: str) -> int:
        """Rows of the table that this run wrote."""
        return sum(part.rows for part in self.slices if part.table == table and part.outcome == "written")
