"""Finds rows of cold tables by a condition, each with its file and snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict
from pyiceberg.expressions import And, BooleanExpression, EqualTo, GreaterThan, GreaterThanOrEqual, In, LessThan
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.table import FileScanTask, Table

from offload.files.scans import read_row_group, row_groups
from offload.tables.slice_records import SUMMARY_ATTEMPT


class TracedRow(BaseModel):
    """A row in one layer and tier. A cold row has its file and, until it expires, the snapshot that added the file."""

    model_config = ConfigDict(frozen=True)

    layer: str
    tier: str
    row: dict[str, Any]
    file: str = ""
    snapshot_id: int | None = None


class ColdRows:
    """Finds rows in the current snapshots of `tables`, file by file, in bounded memory.

    Raises (every method):
        WarehouseError: a file cannot be read.
    """

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = tables

    def properties(self, name: str) -> Mapping[str, str]:
        """The properties of a table."""
        return self._tables[name].properties

    def find(self, name: str, wanted: BooleanExpression) -> Iterator[TracedRow]:
        """The matching rows of a table."""
        table = self._tables[name]
        scan = table.scan(row_filter=wanted)
        arrow = ArrowScan(table.metadata, table.io, scan.projection(), wanted)
        for task, snapshot_id in self._files(table, wanted):
            for batch in arrow.to_record_batches([task]):
                for row in batch.to_pylist():
                    yield TracedRow(
                        layer=name, tier="cold", row=readable(row), file=task.file.file_path, snapshot_id=snapshot_id
                    )

    def frame(self, name: str, wanted: BooleanExpression, columns: Sequence[str]) -> pl.DataFrame:
        """The given columns of the matching rows, with `file` and `snapshot_id` (null if the snapshot has expired)."""
        table = self._tables[name]
        pieces = [pl.DataFrame(table.schema().as_arrow().empty_table()).select(columns).pipe(_placed, "", None)]
        for task, snapshot_id in self._files(table, wanted):
            for group in row_groups(table, [task], wanted):
                for piece in read_row_group(table, group, columns, wanted):
                    pieces.append(pl.DataFrame(piece).pipe(_placed, task.file.file_path, snapshot_id))
        return pl.concat(pieces)

    @staticmethod
    def _files(table: Table, wanted: BooleanExpression) -> Iterator[tuple[FileScanTask, int | None]]:
        """The files that may have matching rows, each with the snapshot that added it."""
        written_by = {
            snapshot.summary[SUMMARY_ATTEMPT]: snapshot.snapshot_id
            for snapshot in table.metadata.snapshots
            if snapshot.summary
        }
        for task in table.scan(row_filter=wanted).plan_files():
            yield task, written_by.get(task.file.file_path.rpartition("/")[2].partition("-")[0])


def _placed(frame: pl.DataFrame, file: str, snapshot_id: int | None) -> pl.DataFrame:
    return frame.with_columns(pl.lit(file, pl.String).alias("file"), pl.lit(snapshot_id, pl.Int64).alias("snapshot_id"))


def readable(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with bytes as text and with aware times. ClickHouse's times are UTC without a zone."""
    return {name: _read(value) for name, value in row.items()}


def _read(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    return text_of(value) if isinstance(value, bytes) else value


def text_of(value: Any) -> str:
    """A text of a message, which need not be UTF-8."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def of_trade(exchange: str, symbols: Iterable[str], trade_id: str, column: str = "symbol") -> BooleanExpression:
    """Rows of one trade, under any name of its market. `column`: that of the names."""
    return And(equals("exchange", exchange), one_of(column, symbols), equals("trade_id", trade_id))


def of_message(topic: str, partition: int, offset: int) -> BooleanExpression:
    """Rows of the raw messages with these coordinates. Only their Kafka times tell several apart."""
    return And(equals("raw_topic", topic), equals("raw_partition", partition), one_of("raw_offset", [offset]))


def sums_of_market(exchange: str, symbols: Iterable[str]) -> BooleanExpression:
    """Rows of trades that sum up several matches, under any name of a market."""
    several = GreaterThan("match_count", 1)  # type: ignore[call-arg, arg-type]
    return And(equals("exchange", exchange), one_of("symbol", symbols), several)


def in_span(column: str, start: datetime, end: datetime) -> BooleanExpression:
    """Rows whose time is at or after `start` and before `end`."""
    return And(
        GreaterThanOrEqual(column, start.isoformat()),  # type: ignore[call-arg, arg-type]
        LessThan(column, end.isoformat()),  # type: ignore[call-arg, arg-type]
    )


# pyiceberg accepts plain names and values here, although its annotations do not.
def equals(column: str, value: str | int | Decimal) -> BooleanExpression:
    """Rows with this value."""
    return EqualTo(column, value)  # type: ignore[call-arg, arg-type]


def one_of(column: str, values: Iterable[str] | Iterable[int]) -> BooleanExpression:
    """Rows with one of these values."""
    return In(column, list(values))  # type: ignore[call-arg, arg-type]
