"""Hot rows of one slice as Parquet files in the warehouse, one file a partition, none left behind by a failed try."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

import pyarrow as pa
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import parquet_file_to_data_file
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from offload.errors import BrokenExportError, CommitConflictError
from offload.hot import HotStore, Parameters
from offload.slices import Slice
from offload.tables import ColdTable
from offload.templates import render

PARQUET_MAGIC = b"PAR1"


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
    """Where the files of a slice are; the attempt that wrote a file begins its name."""
    return f"{table.location()}/data/{quote(part.id, safe='/')}"


def select_of(cold: ColdTable, *, partition: bool, hot: str = "", event_day: bool = False) -> str:
    """The SELECT that turns the hot rows of a slice into rows of `cold`, of one partition or of all.

    `hot` names another table (or view) of the hot one's columns; `event_day` adds a span of event time.
    """
    return render(
        cold.select,
        hot=hot or cold.hot,
        bucket_seconds=cold.bucket_seconds,
        partition=partition,
        event_day=event_day,
    )


def export_slice(hot: HotStore, table: Table, cold: ColdTable, part: Slice, until_us: int, attempt: str) -> Export:
    """Write the files of a slice; if that fails, none of them stays.

    Raises:
        HotStoreError: ClickHouse failed.
        BrokenExportError: a file is not what the cold table needs.
        CommitConflictError: another offloader replaced the slice meanwhile.
    """
    select = select_of(cold, partition=True)
    span: dict[str, str | int] = {"from_us": part.from_us, "to_us": part.to_us, "until_us": until_us}
    files: list[DataFile] = []
    paths: list[str] = []
    try:
        for number, partition in enumerate(_partitions(hot, cold, part)):
            paths.append(f"{slice_folder(table, part)}/{attempt}-{number:05d}.parquet")
            file = _write(hot, table, select, {**span, **partition}, paths[-1])
            if file.record_count:
                files.append(file)
            else:
                _remove(table.io, paths.pop())
    except BaseException:
        for path in paths:
            _remove(table.io, path)
        raise
    return Export(part, tuple(files))


def discard(table: Table, export: Export) -> None:
    """Remove the files of an export that will not be committed."""
    for file in export.files:
        _remove(table.io, file.file_path)


def _partitions(hot: HotStore, cold: ColdTable, part: Slice) -> list[dict[str, str | int]]:
    """The partitions a slice falls into, as query parameters; a Gold slice is one partition."""
    if cold.layer == "gold":
        return [{"key": part.key}]
    if cold.layer == "silver":
        sql = render("partitions_silver.sql")
    else:
        topic = "_topic" if cold.layer == "raw" else "raw_topic"
        sql = render("partitions_topic.sql", hot=cold.hot, topic=topic, arrival=cold.arrival)
    return hot.rows(sql, {"from_us": part.from_us, "to_us": part.to_us})


def _write(hot: HotStore, table: Table, sql: str, parameters: Parameters, path: str) -> DataFile:
    """Stream one query into one file and read its footer back."""
    tail = b""
    with hot.parquet(sql, parameters) as chunks, table.io.new_output(path).create() as output:
        for chunk in chunks:
            output.write(chunk)
            tail = (tail + chunk)[-4096:]
    if not tail.endswith(PARQUET_MAGIC):
        said = tail[-600:].decode("utf-8", "replace")
        raise BrokenExportError(f"The Parquet stream for {path} ended early; ClickHouse's last words: …{said}")
    try:
        return parquet_file_to_data_file(table.io, table.metadata, path)
    except FileNotFoundError as error:
        # Only the sweep of an offloader that committed this slice meanwhile takes a file away: ours could not commit.
        raise CommitConflictError(f"{path} was superseded before it was finished: run again.") from error
    except (pa.ArrowException, ValueError) as error:
        message = f"{path} does not fit its cold table: {error}. Does the hot table have this version's columns?"
        raise BrokenExportError(message) from error


def _remove(io: FileIO, path: str) -> None:
    try:
        io.delete(path)
    except FileNotFoundError:
        return
