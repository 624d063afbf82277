"""The context of one offload run, and the commit of one attempt at slices."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pyiceberg.table import Table

from config.valid_times import END_US
from offload.clickhouse.client import HotStore
from offload.clickhouse.server import arrival_hours
from offload.clickhouse.templates import render
from offload.clickhouse.tiers import Tiers
from offload.errors import CommitConflictError
from offload.files.commit import (
    Replacement,
    attempt_landed,
    files_of_other_attempts,
    remove_uncommitted,
    replace_slices,
)
from offload.files.export import discard
from offload.hourly.late_candles import ColdSilver, CountedTrades
from offload.report import OffloadProgress, OnProgress, SliceStep
from offload.tables.cold_tables import BY_NAME, TABLES, ColdTable
from offload.tables.slices import HOUR_US


@dataclass(frozen=True)
class OffloadContext:
    """One run. Times in µs since the epoch (UTC): whole hours, except `now_us` (the server's clock).

    The run offloads the arrival hours in [`from_us`, `to_us`). Hours before `closed_us` are over. `until_now`: open
    candles are offloaded too. `again`: slices that the cold tier already has are exported again.
    """

    tiers: Tiers
    from_us: int
    to_us: int
    now_us: int
    closed_us: int
    until_now: bool
    again: bool
    progress: OnProgress
    _touched_days: dict[frozenset[int], set[tuple[str, int]]] = field(default_factory=dict)
    _counted_trades: CountedTrades = field(default_factory=dict)

    @property
    def hot(self) -> HotStore:
        """ClickHouse."""
        return self.tiers.hot

    @property
    def candles_until_us(self) -> int:
        """Candles that end after this time (µs) are left out, since they are still open."""
        return END_US if self.until_now else self.closed_us

    def load(self, cold: ColdTable) -> Table:
        """The cold table as it is now."""
        return self.tiers.cold.load(cold)

    def report(self, cold: ColdTable, slice_id: str, step: SliceStep, rows: int = 0) -> None:
        """Report a step of a slice to `progress`."""
        self.progress(OffloadProgress(table=cold.name, slice=slice_id, step=step, rows=rows))

    @cached_property
    def arrival_hours(self) -> dict[str, dict[int, int]]:
        """Rows of each arrival hour of the run: by hot table, start in µs -> rows.

        They are read once, so that Silver and all time frames offload the same rows. The next run takes later rows.
        """
        return arrival_hours(self.hot, [cold for cold in TABLES if cold.arrival], self.from_us, self.to_us)

    def cold_silver(self) -> ColdSilver:
        """Cold Silver as it is now. Count the candles that are compared with it before the call."""
        return ColdSilver.read(self.hot, self.load(BY_NAME["silver_trades"]), self._counted_trades)

    def touched_days(self, hours: Collection[int]) -> set[tuple[str, int]]:
        """(exchange, day in µs) of the Silver rows that arrived in these hours (starts, µs).

        The result is kept, since most time frames have the same hours.
        """
        key = frozenset(hours)
        if key not in self._touched_days:
            # Adjacent hours are one query.
            spans: list[list[int]] = []
            for start in sorted(key):
                if spans and spans[-1][1] == start:
                    spans[-1][1] = start + HOUR_US
                else:
                    spans.append([start, start + HOUR_US])
            sql = render("touched_days.sql")
            rows = [row for from_us, to_us in spans for row in self.hot.rows(sql, {"from_us": from_us, "to_us": to_us})]
            self._touched_days[key] = {(row["key"], int(row["day_us"])) for row in rows}
        return self._touched_days[key]

    def commit(
        self,
        table: Table,
        cold: ColdTable,
        attempt: str,
        replacements: Sequence[Replacement],
        more_properties: Mapping[str, str],
    ) -> None:
        """Commit an attempt, then remove the files of failed attempts at the same slices.

        Raises:
            CommitConflictError: another offloader committed first; the files of this attempt are removed.
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
            # The catalog may have accepted the commit although its answer was lost. If it has not, the files stay until
            # the next attempt removes them, since the catalog may still accept the commit later.
            if not attempt_landed(self.load(cold), attempt):
                raise
        for replacement in replacements:
            self.report(cold, replacement.export.part.id, "committed", replacement.export.rows)
        remove_uncommitted(self.load(cold), candidates)
        for replacement in replacements:
            self.report(cold, replacement.export.part.id, "done", replacement.export.rows)
