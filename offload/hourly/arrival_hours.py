"""Offloads the layers that are sliced by arrival hour: all but Gold."""

from __future__ import annotations

from config.process.retry import retry_on_conflict
from offload.errors import CommitConflictError
from offload.files.commit import Replacement, new_attempt
from offload.files.export import discard, export_slice
from offload.files.replace import separate_hours
from offload.hourly.context import OffloadContext
from offload.report import SliceReport
from offload.tables.cold_tables import ColdTable
from offload.tables.slice_records import SliceRecord, read_ledger
from offload.tables.slices import Slice, hour


def offload_hours(context: OffloadContext, cold: ColdTable) -> list[SliceReport]:
    """Offload every arrival hour of the run to one cold table, where it is due (`is_due`); returns a report for each.

    Raises:
        OffloadError: as `offload.run.run`.
    """
    hours = context.arrival_hours[cold.hot]
    return [_offload_hour(context, cold, hour(start), rows) for start, rows in hours.items()]


def is_due(record: SliceRecord | None, hot_rows: int, *, again: bool) -> bool:
    """Whether an hour must be exported: it never was, it was open then, it has more rows now, or `again` is set."""
    return record is None or again or not record.final or hot_rows > record.measure


@retry_on_conflict(CommitConflictError)
def _offload_hour(context: OffloadContext, cold: ColdTable, part: Slice, hot_rows: int) -> SliceReport:
    table = context.load(cold)
    record = read_ledger(table.properties).get(part.id)
    if record is not None and not is_due(record, hot_rows, again=context.again):
        return SliceReport(table=cold.name, slice=part.id, outcome="unchanged", rows=record.rows)
    if record is not None:
        table = separate_hours(context.hot, context.tiers.cold, cold, [part])
    context.report(cold, part.id, "exporting")
    attempt = new_attempt()
    export = export_slice(
        context.hot, table, cold, part, part.to_us, attempt, context.tiers.settings.offload_file_bytes
    )
    if record is not None and export.rows < record.rows:
        discard(table, export)
        return SliceReport(table=cold.name, slice=part.id, outcome="kept", rows=record.rows, final=record.final)
    context.report(cold, part.id, "exported", export.rows)
    final = part.over(context.now_us)
    fresh = SliceRecord(attempt=attempt, rows=export.rows, measure=hot_rows, until_us=part.to_us, final=final)
    context.commit(table, cold, attempt, [Replacement(export, fresh)], {})
    return SliceReport(
        table=cold.name,
        slice=part.id,
        outcome="written",
        rows=export.rows,
        files=len(export.files),
        bytes=export.size,
        final=final,
    )
