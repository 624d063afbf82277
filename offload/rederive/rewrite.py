"""Commits a re-derived exchange and day to Iceberg: one snapshot of Silver, then one of each Gold table that differs.

A Silver file from which rows leave is written again without them, in the same order, piece by piece. Rows that come are
written to new files in the folder of their arrival hour. All other files of the day stay.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.io.pyarrow import parquet_file_to_data_file
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from config.process.retry import retry_on_conflict
from offload.difference.candles import MINUTE_SECONDS, MinuteSpill, candles, count_altered
from offload.difference.changes import DayChanges
from offload.difference.day import SILVER, RederivedDay
from offload.errors import CommitConflictError
from offload.files.commit import Replacement, new_attempt, replace_slices
from offload.files.data_files import process_attempt, remove
from offload.files.export import Export, slice_folder
from offload.files.scans import read_rows, read_task
from offload.tables.cold_tables import GOLD, ColdTable
from offload.tables.slice_records import (
    SUMMARY_ATTEMPT,
    SUMMARY_SLICES,
    SliceRecord,
    ledger_properties,
    read_ledger,
    read_silver_windows,
    silver_properties,
)
from offload.tables.slices import gold_slices, hour, instant
from offload.tables.transaction import begin_transaction

_GROUP_ROWS = 250_000
# Rows in memory at once, and in a row group. New rows are sorted within one row group.
_PIECE_ROWS = 50_000
_PENDING = "medallion.rederived."


def rewrite_silver(day: RederivedDay, changes: DayChanges) -> Table:
    """Commit the changes to Silver; returns the table after the commit. A commit to other days is no conflict.

    Raises:
        CommitConflictError: another process changed the day meanwhile; nothing was committed.
    """
    attempt = process_attempt()
    new = _write(day, changes, attempt)
    try:
        _commit(day, changes, new, attempt)
    except (ValidationException, CommitFailedException) as error:
        for file in new:
            remove(changes.table.io, file.file_path)
        message = f"Another process changed {day.part.id} meanwhile: {error}. Run the same command again."
        raise CommitConflictError(message) from error
    return day.load(SILVER)


@retry_on_conflict(CommitFailedException)
def _commit(day: RederivedDay, changes: DayChanges, new: Sequence[DataFile], attempt: str) -> None:
    """Commit to the table as it is now, if it has the day's files that were compared.

    Raises:
        ValidationException: it has others.
        CommitFailedException: other processes keep committing.
    """
    table = day.load(SILVER)
    if [task.file.file_path for task in day.silver_tasks(table)] != [task.file.file_path for task in changes.tasks]:
        raise ValidationException("the day has other files than those that were compared")
    known = read_ledger(table.properties)
    records = _records(changes, known, attempt)
    summary = {
        SUMMARY_ATTEMPT: attempt,
        SUMMARY_SLICES: ",".join(sorted(records)),
        "medallion.rederived": day.part.id,
    }
    measures = {name: known[name].measure if name in known else None for name in records}
    pending = {**measures, **_pending(table, day)}
    # Two days may change one hour of arrival, whose record has the sum of both.
    with begin_transaction(table, may_move=False) as transaction:
        transaction.set_properties({**ledger_properties(records), _PENDING + day.part.id: json.dumps(pending)})
        with transaction.update_snapshot(snapshot_properties=summary).overwrite() as snapshot:
            snapshot.delete_by_predicate(day.rows_of_day())
            for number in sorted(changes.leaving_rows):
                snapshot.delete_data_file(changes.tasks[number].file)
            for file in new:
                snapshot.append_data_file(file)


def _write(day: RederivedDay, changes: DayChanges, attempt: str) -> list[DataFile]:
    """Write the new files of Silver; if that fails, no file stays."""
    table, key = changes.table, day.part.key
    paths: list[str] = []
    new: list[DataFile] = []
    try:
        for number, leaving in sorted(changes.leaving_rows.items()):
            if not leaving.all():
                folder = changes.tasks[number].file.file_path.rpartition("/")[0]
                paths.append(f"{folder}/{attempt}-{key}-{number:05d}.parquet")
                new.append(write_file(table, paths[-1], _remaining(changes, number)))
        for start in sorted(changes.new_rows):
            pieces = (piece.sort(*SILVER.sort) for piece in _pieces(changes.new.pieces(start)))
            paths.append(f"{slice_folder(table, hour(start))}/{attempt}-{key}-new.parquet")
            new.append(write_file(table, paths[-1], pieces))
    except BaseException:
        for path in paths:
            remove(table.io, path)
        raise
    return new


def rewrite_gold(day: RederivedDay, silver: Table, minutes: MinuteSpill) -> None:
    """Replace the day's candles in every Gold table in which a candle differs from those of `minutes`.

    Raises:
        CommitConflictError: other processes keep changing a slice.
    """
    pending, windows = _pending(silver, day), read_ledger(silver.properties)
    groups = [candles(group, MINUTE_SECONDS) for group in minutes.groups()]
    for cold in GOLD:
        _rewrite_candles(day, cold, groups, pending, windows)
    if pending:
        _clear_pending(day)


@retry_on_conflict(CommitFailedException)
def _clear_pending(day: RederivedDay) -> None:
    with day.load(SILVER).transaction() as transaction:
        transaction.remove_properties(_PENDING + day.part.id)


def _pending(silver: Table, day: RederivedDay) -> dict[str, int | None]:
    """By slice id, the measures of Silver's hours before the rewrite. They are kept until Gold is rewritten too."""
    measures: dict[str, int | None] = json.loads(silver.properties.get(_PENDING + day.part.id, "{}"))
    return measures


@retry_on_conflict(CommitConflictError)
def _rewrite_candles(
    day: RederivedDay,
    cold: ColdTable,
    minutes: Sequence[pl.DataFrame],
    pending: Mapping[str, int | None],
    windows: Mapping[str, SliceRecord],
) -> None:
    table, part = day.load(cold), day.part
    followed = read_silver_windows(table.properties)
    # Gold tables that were up to date before the rewrite are recorded as up to date after it.
    properties = silver_properties(
        (name, windows[name].measure)
        for name, before in pending.items()
        if followed.get(name) == before and before != windows[name].measure
    )
    (piece,) = gold_slices(cold, [(part.key, part.from_us)])
    known = read_ledger(table.properties).get(piece.id)
    present = pl.concat(list(read_rows(table, piece.predicate(cold))))
    in_day = pl.col("window_start").is_between(instant(part.from_us), instant(part.to_us), closed="left")
    rederived = pl.concat(
        candles(group, cold.bucket_seconds).cast(present.schema).select(present.columns) for group in minutes
    )
    if not count_altered(present.filter(in_day), rederived):
        if properties:
            replace_slices(table, cold, new_attempt(), [], properties)
        return
    rows = pl.concat([present.filter(~in_day), rederived]).sort("symbol", "window_start")
    attempt = process_attempt()
    files: tuple[DataFile, ...] = ()
    if rows.height:
        files = (write_file(table, f"{slice_folder(table, piece)}/{attempt}-00000.parquet", iter([rows])),)
    trades = int(rows["trade_count"].sum())
    until_us, final = (known.until_us, known.final) if known else (piece.to_us, True)
    record = SliceRecord(
        attempt=attempt,
        rows=rows.height,
        measure=trades,
        until_us=until_us,
        final=final,
        by_side=not rows["buy_volume"].null_count(),
    )
    try:
        replace_slices(table, cold, attempt, [Replacement(Export(piece, files), record)], properties)
    except CommitConflictError:
        for file in files:
            remove(table.io, file.file_path)
        raise


def write_file(table: Table, path: str, pieces: Iterator[pl.DataFrame]) -> DataFile:
    """Write one Parquet file with the types of the table, its rows in the order given."""
    schema = pa.schema([pa.field(f.name, _narrow(f.type), nullable=f.nullable) for f in table.schema().as_arrow()])
    with table.io.new_output(path).create() as output, pq.ParquetWriter(output, schema, compression="zstd") as writer:
        for piece in pieces:
            content = piece.select(schema.names).to_arrow().cast(schema)
            writer.write_table(content, row_group_size=_GROUP_ROWS)
    return parquet_file_to_data_file(table.io, table.metadata, path)


def _remaining(changes: DayChanges, number: int) -> Iterator[pl.DataFrame]:
    """A file's rows without those that leave, in pieces large enough for a row group."""

    def pieces() -> Iterator[pl.DataFrame]:
        leaving, start = changes.leaving_rows[number], 0
        for piece in read_task(changes.table, changes.tasks[number]):
            mask = pl.Series(leaving[start : start + piece.height])
            start += piece.height
            yield piece.filter(~mask)

    return _pieces(pieces())


def _pieces(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The same rows in pieces of about `_PIECE_ROWS`."""
    waiting: list[pl.DataFrame] = []
    for frame in frames:
        waiting.append(frame)
        if sum(part.height for part in waiting) >= _PIECE_ROWS:
            yield pl.concat(waiting)
            waiting = []
    if any(part.height for part in waiting):
        yield pl.concat(waiting)


def _records(changes: DayChanges, ledger: Mapping[str, SliceRecord], attempt: str) -> dict[str, SliceRecord]:
    """The records of the hours that change.

    A measure never falls. The hot tier still has the rows that leave. With a lower measure an offload would export the
    hour again, and bring the rows back.
    """
    records = {}
    for start in sorted(changes.new_rows.keys() | changes.leaving_hours.keys()):
        window = hour(start)
        known = ledger.get(window.id)
        coming, leaving = changes.new_rows[start], changes.leaving_hours[start]
        if known is None:
            known = SliceRecord(attempt=attempt, rows=0, measure=0, until_us=window.to_us, final=True)
        rows, measure = known.rows + coming - leaving, known.measure + max(0, coming - leaving)
        records[window.id] = known.model_copy(update={"rows": rows, "measure": measure})
    return records


def _narrow(kind: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_large_string(kind) else pa.binary() if pa.types.is_large_binary(kind) else kind
