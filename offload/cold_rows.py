"""Rows of cold tables and of local Parquet files, piece by piece in the order of the file, a few MB at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from offload.tables import BY_NAME

PIECE_ROWS = 16_384
# Of each column so much of the file is read ahead.
_BUFFER_BYTES = 1 << 20
_ALL = ("*",)


@contextmanager
def lean_arrow() -> Iterator[None]:
    """Arrow's memory from malloc meanwhile: its own pool keeps some 90 MB of what is read piece by piece."""
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)


def read_task(table: Table, task: FileScanTask, columns: Sequence[str] = _ALL) -> Iterator[pl.DataFrame]:
    """All rows of one file."""
    schema = table.schema().as_arrow()
    names = schema.names if columns == _ALL else list(columns)
    yield from _rows(table, task, schema, names, names, None)


def read_rows(table: Table, wanted: BooleanExpression, columns: Sequence[str] = _ALL) -> Iterator[pl.DataFrame]:
    """Matching rows of the current snapshot; at least one piece, perhaps empty."""
    schema = table.schema().as_arrow()
    names = schema.names if columns == _ALL else list(columns)
    bound = bind(table.schema(), wanted, case_sensitive=True)
    condition = expression_to_pyarrow(bound, table.schema())
    asked = {*names, *(table.schema().find_column_name(number) for number in extract_field_ids(bound))}
    yield pl.DataFrame(schema.empty_table()).select(names)
    for task in table.scan(row_filter=wanted).plan_files():
        yield from _rows(table, task, schema, names, [name for name in schema.names if name in asked], condition)


def parquet_rows(paths: Sequence[Path]) -> Iterator[pl.DataFrame]:
    """Rows of local files."""
    for path in paths:
        with path.open("rb") as file:
            for batch in open_parquet(file).iter_batches(PIECE_ROWS):
                yield pl.DataFrame(batch)


def open_parquet(file: BinaryIO | pa.NativeFile) -> pq.ParquetFile:
    """To be read piece by piece: Arrow's data sets, and a file opened without more ado, read a row group ahead."""
    return pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER_BYTES)


def _rows(
    table: Table,
    task: FileScanTask,
    schema: pa.Schema,
    names: Sequence[str],
    asked: Sequence[str],
    condition: pc.Expression | None,
) -> Iterator[pl.DataFrame]:
    if task.delete_files:
        raise WarehouseError(f"{task.file.file_path} has delete files, which nothing of ours writes: compact it first.")
    with table.io.new_input(task.file.file_path).open() as file:
        content = open_parquet(file)
        there = [name for name in asked if name in content.schema_arrow.names]
        later = BY_NAME[table.name()[-1]].later
        groups = _groups(file, content, condition)
        for batch in content.iter_batches(PIECE_ROWS, row_groups=groups, columns=there):
            columns = [
                batch[name].cast(schema.field(name).type)
                if name in there
                else pa.repeat(pa.scalar(later.get(name), schema.field(name).type), batch.num_rows)
                for name in asked
            ]
            piece = pa.Table.from_arrays(columns, names=list(asked))
            if condition is not None:
                piece = piece.filter(condition)
            yield pl.DataFrame(piece.select(list(names)))


def _groups(file: pa.NativeFile, content: pq.ParquetFile, condition: pc.Expression | None) -> list[int]:
    """The row groups that may hold matching rows, by their statistics."""
    if condition is None:
        return list(range(content.num_row_groups))
    pieces = ds.ParquetFileFormat().make_fragment(file).split_by_row_group(condition)
    return [group.id for piece in pieces for group in piece.row_groups]
