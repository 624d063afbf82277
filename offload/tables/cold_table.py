"""What a cold table is: its Iceberg schema, partitions and sort order, and how it is sliced for export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.sorting import NullOrder, SortDirection, SortField, SortOrder
from pyiceberg.transforms import DayTransform, IdentityTransform, MonthTransform, Transform
from pyiceberg.types import (
    BinaryType,
    DecimalType,
    DoubleType,
    IcebergType,
    LongType,
    NestedField,
    StringType,
    TimestamptzType,
)

from ddl.layers import STATE_TABLE

Layer = Literal["raw", "bronze", "silver", "duplicates", "dlq", "gold", "series"]
LAYERS: tuple[Layer, ...] = ("raw", "bronze", "silver", "duplicates", "dlq", "gold", "series")
Period = Literal["day", "month"]
Column = tuple[str, IcebergType, str]
TEXT, LONG, TIME, BYTES, DOUBLE = StringType(), LongType(), TimestamptzType(), BinaryType(), DoubleType()
PRICE, QUOTE = DecimalType(38, 18), DecimalType(38, 20)
# Decimal(20, 0) holds every UInt64, which a long does not.
UINT64 = DecimalType(20, 0)


@dataclass(frozen=True)
class ColdTable:
    """One cold table.

    `select`: the SQL file that turns hot rows into cold rows. The offload writes the result, and `verify` compares the
    cold table with it. `arrival`: the column by whose hour the table is sliced. Gold has none and is sliced by
    partition; its candles are `bucket_seconds` long. `hot_event`: the column by whose day or month (`hot_period`) the
    hot table is partitioned. The ids of the hot partitions begin with `partition_prefix`.

    `row_key`: the columns that identify a row in the union view; () for Gold and for tables without such a view.

    `merges`: the hot table is a ReplacingMergeTree. Of the rows with one sorting key a merge keeps the latest by
    `arrival`; when it runs is not known. If `unsettled_if` (SQL) holds for a row, its `unsettled` columns may be those
    of any of the merged rows, so comparisons of hot and cold leave them out. `counts_merged`: rows are counted with
    FINAL. A worker stamps the arrival, so rows may appear in an hour that is long over, and merges must not hide them.
    A table with `counts_merged` and without `merges` has the arrival in its sorting key, so only copies of one row
    merge.

    `row_bytes`: estimated bytes of a row in a file, used until the table has files. A Silver row takes 40, a Raw row
    with its payload 200. `row_group_bytes`: upper bound on the bytes of a row group, for tables of large rows, since
    ClickHouse holds several row groups in memory; 0: row groups are bounded by rows only.

    `later`: columns added after version 0.1, and their value in files without them. None: the value is unknown, and
    the rows are exported again (`offload.hourly.candles`). Older tables get the columns. They are optional in Iceberg:
    a required column would need a default value, which format version 2 does not have.
    """

    name: str
    layer: Layer
    hot: str
    select: str
    columns: tuple[Column, ...]
    partition_time: str
    partition_by: str
    period: Period
    sort: tuple[str, ...]
    arrival: str = ""
    bucket_seconds: int = 0
    hot_event: str = ""
    hot_period: Period = "day"
    partition_prefix: str = ""
    row_key: tuple[str, ...] = ()
    optional: frozenset[str] = frozenset()
    later: Mapping[str, str | int | None] = field(default_factory=dict)
    merges: bool = False
    counts_merged: bool = False
    row_bytes: float = 100.0
    row_group_bytes: int = 0
    unsettled: frozenset[str] = frozenset()
    unsettled_if: str = ""
    doc: str = ""

    @property
    def hot_table(self) -> str:
        """The hot table whose partitions hold the rows. For Gold, `hot` is a view on it."""
        return STATE_TABLE if self.layer == "gold" else self.hot

    @property
    def has_union_view(self) -> bool:
        """Whether a view shows its rows, hot and cold, as one table."""
        return self.layer == "gold" or bool(self.row_key)

    @property
    def hot_period_sql(self) -> str:
        """The SQL function from `hot_event` to the day or month of the hot partition, as a number."""
        return "toYYYYMMDD" if self.hot_period == "day" else "toYYYYMM"

    @property
    def timeframe(self) -> str:
        """The code of a Gold table's time frame, such as `1m`; "" for the other tables."""
        return self.name.removeprefix("gold_ohlcv_") if self.layer == "gold" else ""

    @property
    def schema(self) -> Schema:
        """The Iceberg schema; field ids follow the order of the columns."""
        fields = (
            NestedField(number, name, kind, required=name not in (self.optional | self.later.keys()), doc=doc)
            for number, (name, kind, doc) in enumerate(self.columns, start=1)
        )
        return Schema(*fields)

    @property
    def spec(self) -> PartitionSpec:
        """Partitions: the day or month of `partition_time`, then the value of `partition_by`."""
        period: Transform[int, int] = DayTransform() if self.period == "day" else MonthTransform()
        schema = self.schema
        time = schema.find_field(self.partition_time).field_id
        key = schema.find_field(self.partition_by).field_id
        return PartitionSpec(
            PartitionField(time, 1000, period, f"{self.partition_time}_{self.period}"),
            PartitionField(key, 1001, IdentityTransform(), self.partition_by),
        )

    @property
    def sort_order(self) -> SortOrder:
        """The order of the rows in every file.

        Raw and Silver have the hot table's order, so ClickHouse reads an hour in order and does not sort it.
        """
        schema = self.schema
        return SortOrder(
            *(
                SortField(
                    schema.find_field(name).field_id, IdentityTransform(), SortDirection.ASC, NullOrder.NULLS_FIRST
                )
                for name in self.sort
            )
        )
