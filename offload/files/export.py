"""Writes the hot rows of one slice as Parquet files of the warehouse; a failed attempt leaves no file.

A partition of a slice is one file, or several of about the target size. ClickHouse writes the result of a query as one
file, so a large partition is divided into several queries: by time of arrival or, if the hot table merges rows, by a
hash of the sorting key, so that rows that merge are in one file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import pyarrow as pa
from pyiceberg.io.pyarrow import parquet_file_to_data_file
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from offload.clickhouse.client import HotStore, Parameters
from offload.clickhouse.templates import render
from offload.errors import BrokenExportError, CommitConflictError
from offload.files.data_files import remove
from offload.tables.cold_tables import BY_NAME, ColdTable
from offload.tables.slices import Slice

PARQUET_MAGIC = b"PAR1"
# Files should have 128 to 512 MB. A partition divided into files of at most this size has no file below half of it.
TARGET_FILE_BYTES = 268_435_456


@dataclass(frozen=True)
class Export:
    """The files of one slice, written and not yet committed."""

    part: Slice
    files: tuple[DataFile, ...]

    @property
    def rows(self) -> int:
        """Rows in all files."""
        return sum(file.record_count for file in self.files)

    @property
    def size(self) -> int:
        """Bytes in all files."""
        return sum(file.file_size_in_bytes for file in self.files)


def slice_folder(table: Table, part: Slice) -> str:
    """The folder of a slice's files. A file's name begins with the attempt that wrote it."""
    return f"{table.location()}/data/{quote(part.id, safe='/')}"


def select_of(cold: ColdTable, *, partition: bool, hot: str = "", event_day: bool = False, pieces: bool = False) -> str:
    """The SELECT that turns the hot rows of a slice into rows of `cold`, of one partition or of all.

    `hot`: another table or view with the columns of the hot one. `event_day`: also limits event time. `pieces`: selects
    one of several pieces of a table that merges.
    """
    return render(
        cold.select,
        hot=hot or cold.hot,
        columns=cold.columns,
        optional=cold.optional,
        merged=cold.counts_merged,
        event=cold.hot_event,
        sort=cold.sort,
        bucket_seconds=cold.bucket_seconds,
        partition=partition,
        event_day=event_day,
        pieces=pieces,
    )


def export_slice(
    hot: HotStore,
    table: Table,
    cold: ColdTable,
    part: Slice,
    until_us: int,
    attempt: str,
    file_bytes: int = TARGET_FILE_BYTES,
) -> Export:
    """Write the files of a slice, each of at most about `file_bytes`; if that fails, no file stays.

    Raises:
        HotStoreError: ClickHouse failed.
        BrokenExportError: a file does not fit the cold table.
        CommitConflictError: another offloader replaced the slice meanwhile.
    """
    span: dict[str, str | int] = {"from_us": part.from_us, "to_us": part.to_us, "until_us": until_us}
    files: list[DataFile] = []
    paths: list[str] = []
    row_bytes = _row_bytes(table, cold)
    pieces = (
        piece
        for partition in _partitions(hot, cold, part)
        for piece in _pieces(
            hot, cold, {**span, **partition}, math.ceil(partition["partition_rows"] * row_bytes / file_bytes)
        )
    )
    try:
        for number, (select, parameters) in enumerate(pieces):
            paths.append(f"{slice_folder(table, part)}/{attempt}-{number:05d}.parquet")
            file = write_query(hot, table, select, parameters, paths[-1])
            if file.record_count:
                files.append(file)
            else:
                remove(table.io, paths.pop())
    except BaseException:
        for path in paths:
            remove(table.io, path)
        raise
    return Export(part, tuple(files))


def export_query(hot: HotStore, table: Table, part: Slice, sql: str, parameters: Parameters, attempt: str) -> Export:
    """Write the rows of a query as the only file of a slice; if that fails, no file stays.

    Raises:
        OffloadError: as `export_slice`.
    """
    path = f"{slice_folder(table, part)}/{attempt}-00000.parquet"
    try:
        file = write_query(hot, table, sql, parameters, path)
    except BaseException:
        remove(table.io, path)
        raise
    return Export(part, (file,))


def discard(table: Table, export: Export) -> None:
    """Remove the files of an export that will not be committed."""
    for file in export.files:
        remove(table.io, file.file_path)


def _partitions(hot: HotStore, cold: ColdTable, part: Slice) -> list[dict[str, Any]]:
    """The partitions of a slice, as query parameters; a Gold slice is one partition and one file."""
    if cold.layer == "gold":
        return [{"key": part.key, "partition_rows": 0}]
    if cold.layer == "silver":
        sql = render("partitions_silver.sql")
    else:
        key = "_topic" if cold.layer == "raw" else cold.partition_by
        sql = render("partitions_arrival.sql", hot=cold.hot, key=key, arrival=cold.arrival)
    return hot.rows(sql, {"from_us": part.from_us, "to_us": part.to_us})


def _row_bytes(table: Table, cold: ColdTable) -> float:
    """Average bytes of a row in the table's files; the declared estimate if there are none."""
    snapshot = table.current_snapshot()
    totals = snapshot.summary if snapshot and snapshot.summary else {}
    rows, size = int(totals.get("total-records") or 0), int(totals.get("total-files-size") or 0)
    return size / rows if rows and size else cold.row_bytes


def _pieces(hot: HotStore, cold: ColdTable, span: dict[str, Any], count: int) -> Iterator[tuple[str, Parameters]]:
    """The queries, with parameters, that write the rows of a partition to `count` files."""
    whole = select_of(cold, partition=True)
    if count <= 1:
        yield whole, span
    elif cold.merges:
        for piece in range(count):
            yield select_of(cold, partition=True, pieces=True), {**span, "pieces": count, "piece": piece}
    else:
        levels = [number / count for number in range(1, count)]
        sql = render("split_points.sql", levels=levels, arrival=cold.arrival, select=whole)
        points = [span["from_us"] + int(point) for point in hot.rows(sql, span)[0]["points"]]
        for from_us, to_us in pairwise([span["from_us"], *sorted(points), span["to_us"]]):
            yield whole, {**span, "from_us": from_us, "to_us": to_us}


def write_query(hot: HotStore, table: Table, sql: str, parameters: Parameters, path: str) -> DataFile:
    """Write the result of one query to one file and read the file's footer.

    Raises:
        HotStoreError: ClickHouse failed.
        BrokenExportError: the file does not fit the cold table; the file may exist.
        CommitConflictError: another offloader removed the file.
    """
    row_group_bytes = BY_NAME[table.name()[-1]].row_group_bytes
    query = render("large_rows.sql", select=sql, row_group_bytes=row_group_bytes) if row_group_bytes else sql
    tail = b""
    with hot.parquet(query, parameters) as chunks, table.io.new_output(path).create() as output:
        for chunk in chunks:
            output.write(chunk)
            tail = (tail + chunk)[-4096:]
    if not tail.endswith(PARQUET_MAGIC):
        end = tail[-600:].decode("utf-8", "replace")
        raise BrokenExportError(
            f"The Parquet stream for {path} ended early: run again. ClickHouse's last output: …{end}"
        )
    try:
        return parquet_file_to_data_file(table.io, table.metadata, path)
    except FileNotFoundError as error:
        # Only an offloader that has committed this slice meanwhile removes the file, and our commit would fail.
        raise CommitConflictError(f"Another offloader committed the slice of {path} first: run again.") from error
    except (pa.ArrowException, ValueError) as error:
        message = f"{path} does not fit its cold table: {error}. Check the hot table's columns: `medallion ddl status`."
        raise BrokenExportError(message) from error
