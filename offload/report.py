"""What an offload did, slice by slice, and what it says while at work."""

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


class SliceReport(BaseModel):
    """What became of one slice.

    `written`: committed, replacing what was there. `unchanged`: the cold table has it already. `kept`: the hot tier
    holds fewer rows than the cold one (partitions dropped, or Bronze rows merged into a later window), so the cold rows
    stay as they are, or wait for a run that brings Silver too. `rebuilt`: candles made of cold Silver, since their hot
    partition had left when a trade came. `final` is false for a slice that is still open; a later run replaces it.
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
    """Every slice the run looked at, and how long it took (seconds)."""

    model_config = ConfigDict(frozen=True)

    slices: tuple[SliceReport, ...]
    seconds: float

    def rows(self, table: str) -> int:
        """Rows of the table's slices, whatever became of them."""
        return sum(part.rows for part in self.slices if part.table == table)

    def written(self, table: str) -> int:
        """Rows of the table that this run wrote."""
        return sum(part.rows for part in self.slices if part.table == table and part.outcome == "written")
