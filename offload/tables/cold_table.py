"""What a cold table is: its Iceberg schema, partitions and sort order, and how it is sliced for export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.sorting import NullOrder, SortDirection, SortField, SortOrder
from pyiceberg.transforms import DayTransform, IdentityTransform, MonthTransform, Transform
from pyiceberg.types import IcebergType, NestedField

from ddl.layers import STATE_TABLE

Layer = Literal["raw", "bronze", "silver", "duplicates", "dlq", "gold"]
LAYERS: tuple[Layer, ...] = ("raw", "bronze", "silver", "duplicates", "dlq", "gold")
Period = Literal["day", "month"]
Column = tuple[str, IcebergType, str]


@dataclass(frozen=True)
class ColdTable:
    """One cold table.

    `select` is the SQL file that turns hot rows into cold ones; what the offload writes and what `verify` compares
    with both come from it. `arrival` is the column by whose hour the table is sliced; Gold has none and is sliced by
    partition, `bucket_seconds` being the length of its candles. `hot_event` is the column by whose day or month the hot
    table is partitioned; the ids of the hot partitions begin with `partition_prefix`.

    `merges`: the hot table is a ReplacingMergeTree that keeps, of the rows with one sorting key, the latest by
    `arrival`, at a moment nobody knows. `unsettled` columns may then be those of any of the rows that were merged, as
    far as `unsettled_if` (SQL) says so; they do not count where hot and cold are compared. `counts_merged`: the arrival
    is stamped by a worker, so rows may appear in an hour long over, which merges must not hide: rows are counted FINAL.

    `later`: columns that came after version 0.1, and what a file without them means; None: nothing, its rows are made
    anew (`offload.hourly.candles`). Tables that lack them get them. Iceberg has them optional, since a required column
    needs a default, which format version 2 does not have.
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
    partition_prefix: str = ""
    optional: frozenset[str] = frozenset()
    later: Mapping[str, str | int | None] = field(default_factory=dict)
    merges: bool = False
    counts_merged: bool = False
    unsettled: frozenset[str] = frozenset()
    unsettled_if: str = ""
    doc: str = ""

    @property
    def hot_table(self) -> str:
        """The hot table whose partitions hold the rows; `hot` is a view on it where `layer` is gold."""
        return STATE_TABLE if self.layer == "gold" else self.hot

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
        """Partition spec: the period of `partition_time`, then `partition_by` as it is."""
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
        """The order of the rows in every file. Raw and Silver have the hot table's own,
        so that a window of any size is read in order instead of sorted.
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
