"""Reads rows of cold tables and of local Parquet files in their order, a few MB at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyiceberg.expressions import BooleanExpression
from pyiceberg.expressions.visitors import bind, extract_field_ids
from pyiceberg.io.pyarrow import expression_to_pyarrow
from pyiceberg.table import FileScanTask, Table

from offload.errors import WarehouseError
from offload.tables.cold_tables import BY_NAME

# Two pieces are in work at a time, with several copies of each in memory. Smaller pieces would need more calls.
PIECE_ROWS = 24_576
# Bytes of each column that are read ahead.
_BUFFER_BYTES = 1 << 20
_ALL = ("*",)


@contextmanager
def lean_arrow() -> Iterator[None]:
    """Let Arrow allocate with malloc. Its own pool would keep about 90 MB when files are read piece by piece."""
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group of a cold file. `first_row`: the number of rows before it in the file."""

    task: FileScanTask
    metadata: pq.FileMetaData
    group: int
    first_row: int


def row_groups(
    table: Table, tasks: Iterable[FileScanTask], wanted: BooleanExpression | None = None
) -> Iterator[RowGroup]:
    """The row groups of these files; with `wanted`, only those that may have matching rows.

    Raises:
        WarehouseError: a file has delete files.
    """
    condition = None if wanted is None else _condition(table, wanted)
    for task in tasks:
        if task.delete_files:
            path = task.file.file_path
            raise WarehouseError(
                f"{path} has delete files, which Medallion never writes: compact it with the tool that wrote them."
            )
        with table.io.new_input(task.file.file_path).open() as file:
            metadata = open_parquet(file).metadata
            chosen = _groups(file, metadata, condition)
        first_row = 0
        for group in range(metadata.num_row_groups):
            if group in chosen:
                yield RowGroup(task, metadata, group, first_row)
            first_row += metadata.row_group(group).num_rows


def read_row_group(
    table: Table, group: RowGroup, columns: Sequence[str] = _ALL, wanted: BooleanExpression | None = None
) -> Iterator[pa.Table]:
    """The rows of a row group with the types of the cold table; with `wanted`, only the matching rows."""
    schema = table.schema().as_arrow()
    names = schema.names if columns == _ALL else list(columns)
    condition, read = None, set(names)
    if wanted is not None:
        condition = _condition(table, wanted)
        numbers = extract_field_ids(bind(table.schema(), wanted, case_sensitive=True))
        read |= {table.schema().find_column_name(number) for number in numbers}
    later = BY_NAME[table.name()[-1]].later
    with table.io.new_input(group.task.file.file_path).open() as file:
        content = open_parquet(file, group.metadata)
        present = [name for name in schema.names if name in read and name in content.schema_arrow.names]
        for batch in content.iter_batches(PIECE_ROWS, row_groups=[group.group], columns=present):
            fields = {name: schema.field(name).type for name in schema.names if name in read}
            values = [
                batch[name].cast(kind)
                if name in present
                else pa.repeat(pa.scalar(later.get(name), kind), batch.num_rows)
                for name, kind in fields.items()
            ]
            piece = pa.Table.from_arrays(values, names=list(fields))
            yield (piece if condition is None else piece.filter(condition)).select(names)


def read_task(table: Table, task: FileScanTask, columns: Sequence[str] = _ALL) -> Iterator[pl.DataFrame]:
    """All rows of one file."""
    for group in row_groups(table, [task]):
        yield from map(pl.DataFrame, read_row_group(table, group, columns))


def read_rows(table: Table, wanted: BooleanExpression, columns: Sequence[str] = _ALL) -> Iterator[pl.DataFrame]:
    """The matching rows of the current snapshot; at least one piece, which may be empty."""
    empty = pl.DataFrame(table.schema().as_arrow().empty_table())
    yield empty if columns == _ALL else empty.select(columns)
    for group in row_groups(table, table.scan(row_filter=wanted).plan_files(), wanted):
        yield from map(pl.DataFrame, read_row_group(table, group, columns, wanted))


def parquet_rows(paths: Sequence[Path]) -> Iterator[pl.DataFrame]:
    """The rows of local files; at least one piece of each, which may be empty."""
    for path in paths:
        with path.open("rb") as file:
            content = open_parquet(file)
            yield pl.DataFrame(content.schema_arrow.empty_table())
            yield from map(pl.DataFrame, content.iter_batches(PIECE_ROWS))


def open_parquet(file: BinaryIO | pa.NativeFile, metadata: pq.FileMetaData | None = None) -> pq.ParquetFile:
    """Open a file to be read piece by piece. By default Arrow would read a whole row group ahead.

    `metadata`: the file's footer; None: it is read.
    """
    return pq.ParquetFile(file, metadata=metadata, pre_buffer=False, buffer_size=_BUFFER_BYTES)


def _condition(table: Table, wanted: BooleanExpression) -> pc.Expression:
    return expression_to_pyarrow(bind(table.schema(), wanted, case_sensitive=True), table.schema())


def _groups(file: pa.NativeFile, metadata: pq.FileMetaData, condition: pc.Expression | None) -> set[int]:
    """The row groups that may hold matching rows, by their statistics."""
    if condition is None:
        return set(range(metadata.num_row_groups))
    pieces = ds.ParquetFileFormat().make_fragment(file).split_by_row_group(condition)
    return {group.id for piece in pieces for group in piece.row_groups}
