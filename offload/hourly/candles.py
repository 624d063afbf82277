"""Offloads candles: exports each partition that new Silver rows touch as a whole, all in one commit.

The hot candles of a partition are incomplete if a trade came after the gate had dropped it. Its candles are then
computed from cold Silver (`offload.hourly.late_candles`). Partitions that version 0.1 exported lack the volume by side
and are exported again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pyiceberg.table import Table

from config.process.retry import retry_on_conflict
from offload.clickhouse.templates import render
from offload.errors import CommitConflictError
from offload.files.commit import Replacement, new_attempt
from offload.files.export import Export, discard, export_query, export_slice, select_of
from offload.hourly.context import OffloadContext
from offload.hourly.late_candles import ColdSilver, select_rebuilt
from offload.report import Outcome, SliceReport
from offload.tables.cold_tables import BY_NAME, ColdTable
from offload.tables.slice_records import (
    SliceRecord,
    ledger_properties,
    read_ledger,
    read_silver_windows,
    silver_properties,
)
from offload.tables.slices import DAY_US, Slice, gold_slices, hour, parse_gold_id

_SILVER = BY_NAME["silver_trades"]
# How many slices of version 0.1 are exported again in one commit.
_OLD_SLICES = 100


def offload_gold(context: OffloadContext, cold: ColdTable) -> list[SliceReport]:
    """Offload one time frame: the candles of the run's Silver rows, and slices that lack columns of this version.

    Raises:
        OffloadError: as `offload.run.run`.
    """
    reports = _follow_silver(context, cold)
    old = sorted(name for name, record in read_ledger(context.load(cold).properties).items() if not record.by_side)
    for start in range(0, len(old), _OLD_SLICES):
        reports += _export_again(context, cold, old[start : start + _OLD_SLICES])
    return reports


@retry_on_conflict(CommitConflictError)
def _export_again(context: OffloadContext, cold: ColdTable, names: Sequence[str]) -> list[SliceReport]:
    table = context.load(cold)
    gold = _GoldAttempt(context, cold, table, read_ledger(table.properties), set())
    gold.run_and_commit({}, lambda: gold.export_again([parse_gold_id(cold, name) for name in names]))
    return gold.reports


@retry_on_conflict(CommitConflictError)
def _follow_silver(context: OffloadContext, cold: ColdTable) -> list[SliceReport]:
    table = context.load(cold)
    hours = context.arrival_hours[_SILVER.hot]
    followed = read_silver_windows(table.properties)
    measures = {name: record.measure for name, record in read_ledger(context.load(_SILVER).properties).items()}

    def is_due(name: str, rows: int) -> bool:
        """Whether an hour has more rows than Gold contains, or as many as cold Silver after a re-derivation."""
        known = followed.get(name, 0)
        return context.again or rows > known or rows == measures.get(name, known) != known

    due_hours = {start: rows for start, rows in hours.items() if is_due(hour(start).id, rows)}
    gold = _GoldAttempt(context, cold, table, read_ledger(table.properties), context.touched_days(due_hours.keys()))
    gold.run_and_commit(due_hours, gold.export)
    return gold.reports


@dataclass
class _GoldAttempt:
    """One attempt at a time frame. `touched_days`: (exchange, day in µs) of the new Silver rows.

    `records`: new records of slices whose candles stay. `postponed`: arrival hours that stay due for the next run.
    """

    context: OffloadContext
    cold: ColdTable
    table: Table
    ledger: Mapping[str, SliceRecord]
    touched_days: set[tuple[str, int]]
    attempt: str = field(default_factory=new_attempt)
    replacements: list[Replacement] = field(default_factory=list)
    reports: list[SliceReport] = field(default_factory=list)
    records: dict[str, SliceRecord] = field(default_factory=dict)
    postponed: frozenset[int] = frozenset()

    def run_and_commit(self, hours: Mapping[int, int], export: Callable[[], None]) -> None:
        """Write files with `export` and commit them. `hours`: arrival hours that Gold then contains, and their rows."""
        try:
            export()
        except BaseException:
            for replacement in self.replacements:
                discard(self.table, replacement.export)
            raise
        properties = {
            **ledger_properties(self.records),
            **silver_properties((hour(start).id, rows) for start, rows in hours.items() if start not in self.postponed),
        }
        if self.replacements or properties:
            self.context.commit(self.table, self.cold, self.attempt, self.replacements, properties)

    def export_again(self, parts: Sequence[Slice]) -> None:
        """Write the files of slices again from the hot candles or, if these were dropped, from cold Silver."""
        now_us = self.context.candles_until_us
        known = {part: self.ledger[part.id] for part in parts}
        until = {part: max(now_us, record.until_us) for part, record in known.items()}
        measures = {part: self._measure(part, until[part]) for part in parts}
        silver = self.context.cold_silver()
        for part, record in known.items():
            if measures[part] >= record.measure and not self._is_late(silver, part, measures[part]):
                self._replace(part, measures[part], until[part])
            elif silver.count_trades(self.context.hot, part) < record.measure:
                self._report_kept(part, record)
            else:
                self._rebuild(silver, part, record, until[part])

    def export(self) -> None:
        """Write the files of every slice that has to be replaced."""
        until_us = self.context.candles_until_us
        touched = gold_slices(self.cold, self.touched_days)
        not_final = {parse_gold_id(self.cold, name) for name, record in self.ledger.items() if not record.final}
        measures = {part: self._measure(part, until_us) for part in sorted(touched | not_final)}
        closed = [part for part in touched if self._is_final(part)]
        # Read Silver after the candles are counted, so that a trade in between never makes candles look complete.
        silver = self.context.cold_silver() if closed else None
        for part, measure in measures.items():
            known = self.ledger.get(part.id)
            if silver is not None and part in closed and self._is_late(silver, part, measure):
                self._rebuild(silver, part, known, until_us)
            elif known is not None and (measure < known.measure or (measure == known.measure and part not in touched)):
                self._report_unchanged(part, known, measure, until_us)
            else:
                self._replace(part, measure, until_us)

    def _is_final(self, part: Slice) -> bool:
        return part.to_us <= self.context.closed_us

    def _is_late(self, silver: ColdSilver, part: Slice, measure: int) -> bool:
        return measure < silver.count_trades(self.context.hot, part) + silver.missing_trades(self.context.hot, part)

    def _measure(self, part: Slice, until_us: int) -> int:
        """Trades in the hot candles of a partition. The number only grows, unless the gate dropped the partition."""
        sql = render("count_candles.sql", select=select_of(self.cold, partition=True))
        span: dict[str, str | int] = {"from_us": part.from_us, "to_us": part.to_us, "until_us": until_us}
        return int(self.context.hot.rows(sql, {**span, "key": part.key})[0]["trades"])

    def _report_unchanged(self, part: Slice, known: SliceRecord, measure: int, until_us: int) -> None:
        outcome: Outcome = "kept" if measure < known.measure else "unchanged"
        final = self._is_final(part)
        if outcome == "unchanged" and (known.until_us, known.final) != (until_us, final):
            self.records[part.id] = known.model_copy(update={"until_us": until_us, "final": final})
        self.reports.append(
            SliceReport(table=self.cold.name, slice=part.id, outcome=outcome, rows=known.rows, final=final)
        )

    def _replace(self, part: Slice, measure: int, until_us: int) -> None:
        self.context.report(self.cold, part.id, "exporting")
        export = export_slice(self.context.hot, self.table, self.cold, part, until_us, self.attempt)
        self._add_export(export, "written", measure, until_us)

    def _rebuild(self, silver: ColdSilver, part: Slice, known: SliceRecord | None, until_us: int) -> None:
        if silver.missing_trades(self.context.hot, part):
            # Cold Silver lacks the hours of these trades. The run that offloads the hours computes the candles.
            self.postponed = silver.incomplete_hours
            self._report_kept(part, known)
            return
        self.context.report(self.cold, part.id, "exporting")
        days = {us // DAY_US for key, us in self.touched_days if key == part.key and part.from_us <= us < part.to_us}
        if known is not None and not known.by_side:
            days = set(range(part.from_us // DAY_US, part.to_us // DAY_US))
        sql, span = select_rebuilt(self.context.hot, silver, self.table, self.cold, part, days)
        export = export_query(self.context.hot, self.table, part, sql, span, self.attempt)
        self._add_export(export, "rebuilt", silver.count_trades(self.context.hot, part), until_us)

    def _report_kept(self, part: Slice, known: SliceRecord | None) -> None:
        rows = known.rows if known else 0
        self.reports.append(SliceReport(table=self.cold.name, slice=part.id, outcome="kept", rows=rows))

    def _add_export(self, export: Export, outcome: Outcome, measure: int, until_us: int) -> None:
        part, final = export.part, self._is_final(export.part)
        self.context.report(self.cold, part.id, "exported", export.rows)
        record = SliceRecord(
            attempt=self.attempt, rows=export.rows, measure=measure, until_us=until_us, final=final, by_side=True
        )
        self.replacements.append(Replacement(export, record))
        self.reports.append(
            SliceReport(
                table=self.cold.name,
                slice=part.id,
                outcome=outcome,
                rows=export.rows,
                files=len(export.files),
                bytes=export.size,
                final=final,
            )
        )
