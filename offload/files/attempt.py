"""One offload run's surroundings, and the commit of an attempt with its clean-up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from offload.clickhouse.client import HotStore
from offload.clickhouse.templates import render
from offload.errors import CommitConflictError
from offload.files.commit import Replacement, attempt_landed, files_of_other_attempts, remove_uncommitted, replace_slices
from offload.files.export import discard
from offload.report import OnProgress, OffloadProgress, SliceStep
from offload.tables.cold_tables import ColdTable

# An offloader that loses against another one to the same slices exports again, having seen what the other one did.
ATTEMPTS = 8


@dataclass(frozen=True)
class OffloadContext:
    """What a run works with; times in µs since the epoch (UTC), whole hours but `now_us` (the server's clock)."""

    hot: HotStore
    catalog: Catalog
    namespace: str
    from_us: int
    to_us: int
    now_us: int
    closed_us: int
    until_now: bool
    again: bool
    file_bytes: int
    progress: OnProgress

    def name(self, cold: ColdTable) -> str:
        """The cold table's name in the catalog."""
        return f"{self.namespace}.{cold.name}"

    def load(self, cold: ColdTable) -> Table:
        """The cold table as it is now."""
        return self.catalog.load_table(self.name(cold))

    def report(self, cold: ColdTable, slice_id: str, step: SliceStep, rows: int = 0) -> None:
        """Report a step."""
        self.progress(OffloadProgress(table=cold.name, slice=slice_id, step=step, rows=rows))

    def arrival_hours(self, cold: ColdTable) -> dict[int, int]:
        """Hot rows of each arrival hour in the run's span: start in µs -> rows."""
        return arrival_hours(self.hot, cold, self.from_us, self.to_us)


def arrival_hours(hot: HotStore, cold: ColdTable, from_us: int, to_us: int) -> dict[int, int]:
    """Hot rows of each arrival hour in [from_us, to_us) (µs, UTC): start in µs -> rows.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    sql = render("arrival_hours.sql", hot=cold.hot, arrival=cold.arrival, final=cold.counts_merged)
    return {int(row["window_us"]): int(row["hot_rows"]) for row in hot.rows(sql, {"from_us": from_us, "to_us": to_us})}


def new_attempt() -> str:
    """A name for one try at some slices; its files begin with it."""
    return uuid4().hex


def commit(
    context: OffloadContext,
    table: Table,
    cold: ColdTable,
    attempt: str,
    replacements: Sequence[Replacement],
    more_properties: Mapping[str, str],
) -> None:
    """Commit an attempt, then remove what dead attempts at the same slices left.

    Raises:
        CommitConflictError: another offloader was quicker; this attempt's files are gone.
    """
    parts = [replacement.export.part for replacement in replacements]
    candidates = files_of_other_attempts(table, parts, attempt)
    try:
        replace_slices(table, cold, attempt, replacements, more_properties)
    except CommitConflictError:
        for replacement in replacements:
            discard(table, replacement.export)
        raise
    except Exception:
        # The catalog may have taken the commit all the same (a lost answer). If not, the files stay for the next
        # attempt to remove: deleting them here could pull them from under a commit that lands late.
        if not attempt_landed(context.load(cold), attempt):
            raise
    for replacement in replacements:
        context.report(cold, replacement.export.part.id, "committed", replacement.export.rows)
    remove_uncommitted(context.load(cold), candidates)
    for replacement in replacements:
        context.report(cold, replacement.export.part.id, "done", replacement.export.rows)
