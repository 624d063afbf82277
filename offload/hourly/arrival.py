"""Offload of the layers that are sliced by hour of arrival: all but Gold."""

from __future__ import annotations

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from offload.errors import CommitConflictError
from offload.files.attempt import ATTEMPTS, Task, commit, new_attempt
from offload.files.commit import Replacement
from offload.files.export import discard, export_slice
from offload.files.replace import separate
from offload.report import SliceReport
from offload.tables.cold_tables import ColdTable
from offload.tables.slice_records import SliceRecord, read_ledger
from offload.tables.slices import Slice, hour


def offload_arrival(task: Task, cold: ColdTable) -> list[SliceReport]:
    """Bring every window of the run's span up to date in one cold table.

    Raises:
        OffloadError: as `offload.run.run`.
    """
    windows = task.arrivals(cold)
    return [_offload_window(task, cold, hour(start), rows) for start, rows in windows.items()]


def due(record: SliceRecord | None, hot_rows: int, *, again: bool) -> bool:
    """Whether a window is to be exported: never was, was still open, has grown, or is asked for."""
    return record is None or again or not record.final or hot_rows > record.measure


@retry(
    retry=retry_if_exception_type(CommitConflictError),
    stop=stop_after_attempt(ATTEMPTS),
    wait=wait_random(0.01, 0.2),
    reraise=True,
)
def _offload_window(task: Task, cold: ColdTable, part: Slice, hot_rows: int) -> SliceReport:
    table = task.load(cold)
    record = read_ledger(table.properties).get(part.id)
    if record is not None and not due(record, hot_rows, again=task.again):
        return SliceReport(table=cold.name, slice=part.id, outcome="unchanged", rows=record.rows)
    if record is not None:
        table = separate(task.hot, task.catalog, task.name(cold), cold, [part])
    task.say(cold, part.id, "exporting")
    attempt = new_attempt()
    export = export_slice(task.hot, table, cold, part, part.to_us, attempt, task.file_bytes)
    if record is not None and export.rows < record.rows:
        discard(table, export)
        return SliceReport(table=cold.name, slice=part.id, outcome="kept", rows=record.rows, final=record.final)
    task.say(cold, part.id, "exported", export.rows)
    final = part.over(task.now_us)
    fresh = SliceRecord(attempt=attempt, rows=export.rows, measure=hot_rows, until_us=part.to_us, final=final)
    commit(task, table, cold, attempt, [Replacement(export, fresh)], {})
    return SliceReport(
        table=cold.name,
        slice=part.id,
        outcome="written",
        rows=export.rows,
        files=len(export.files),
        bytes=export.size,
        final=final,
    )
