"""Offload of the layers that are sliced by hour of arrival: all but Gold."""

from __future__ import annotations

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from offload.errors import CommitConflictError
from offload.files.attempt import ATTEMPTS, OffloadContext, commit, new_attempt
from offload.files.commit import Replacement
from offload.files.export import discard, export_slice
from offload.files.replace import separate_hours
from offload.report import SliceReport
from offload.tables.cold_tables import ColdTable
from offload.tables.slice_records import SliceRecord, read_ledger
from offload.tables.slices import Slice, hour


def offload_hours(context: OffloadContext, cold: ColdTable) -> list[SliceReport]:
    """Bring every window of the run's span up to date in one cold table.

    Raises:
        OffloadError: as `offload.run.run`.
    """
    windows = context.arrivals(cold)
    return [_offload_hour(context, cold, hour(start), rows) for start, rows in windows.items()]


def is_due(record: SliceRecord | None, hot_rows: int, *, again: bool) -> bool:
    """Whether a window is to be exported: never was, was still open, has grown, or is asked for."""
    return record is None or again or not record.final or hot_rows > record.measure


@retry(
    retry=retry_if_exception_type(CommitConflictError),
    stop=stop_after_attempt(ATTEMPTS),
    wait=wait_random(0.01, 0.2),
    reraise=True,
)
def _offload_hour(context: OffloadContext, cold: ColdTable, part: Slice, hot_rows: int) -> SliceReport:
    table = context.load(cold)
    record = read_ledger(table.properties).get(part.id)
    if record is not None and not is_due(record, hot_rows, again=context.again):
        return SliceReport(table=cold.name, slice=part.id, outcome="unchanged", rows=record.rows)
    if record is not None:
        table = separate_hours(context.hot, context.catalog, context.name(cold), cold, [part])
    context.report(cold, part.id, "exporting")
    attempt = new_attempt()
    export = export_slice(context.hot, table, cold, part, part.to_us, attempt, context.file_bytes)
    if record is not None and export.rows < record.rows:
        discard(table, export)
        return SliceReport(table=cold.name, slice=part.id, outcome="kept", rows=record.rows, final=record.final)
    context.report(cold, part.id, "exported", export.rows)
    final = part.over(context.now_us)
    fresh = SliceRecord(attempt=attempt, rows=export.rows, measure=hot_rows, until_us=part.to_us, final=final)
    commit(context, table, cold, attempt, [Replacement(export, fresh)], {})
    return SliceReport(
        table=cold.name,
        slice=part.id,
        outcome="written",
        rows=export.rows,
        files=len(export.files),
        bytes=export.size,
        final=final,
    )
