"""Queries about a ClickHouse server and its tables: clock, partitions, arrival hours."""

from __future__ import annotations

from collections.abc import Collection

from offload.clickhouse.client import HotStore
from offload.clickhouse.templates import render
from offload.tables.cold_tables import ColdTable
from offload.tables.slices import Slice, hot_partition


def server_now_us(hot: HotStore) -> int:
    """The server's clock (µs since the epoch, UTC).

    Raises:
        HotStoreError: ClickHouse failed.
    """
    return int(hot.rows(render("clock.sql"), {})[0]["now_us"])


def arrival_hours(hot: HotStore, tables: Collection[ColdTable], from_us: int, to_us: int) -> dict[str, dict[int, int]]:
    """Rows of each arrival hour in [from_us, to_us) (µs, UTC): by hot table, start of the hour in µs -> rows.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    hours: dict[str, dict[int, int]] = {cold.hot: {} for cold in tables}
    for row in hot.rows(render("arrival_hours.sql", tables=tables), {"from_us": from_us, "to_us": to_us}):
        hours[row["hot_table"]][int(row["hour_us"])] = int(row["hot_rows"])
    return hours


def partition_rows(hot: HotStore, tables: Collection[str]) -> dict[str, dict[str, int]]:
    """The partitions of hot tables that have rows: by table, partition id -> rows.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    rows: dict[str, dict[str, int]] = {table: {} for table in tables}
    for row in hot.rows(render("hot_partitions.sql"), {"tables": list(tables)}):
        rows[row["table"]][row["partition_id"]] = int(row["part_rows"])
    return rows


def partition_of(hot: HotStore, table: str, part: Slice, prefix: str = "") -> str:
    """The id of the hot partition that holds the start of `part`, or "" if there is none with rows.

    Only partitions whose ids begin with `prefix` count.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    for partition_id in partition_rows(hot, [table])[table]:
        partition = hot_partition(partition_id)
        if (
            partition_id.startswith(prefix)
            and partition is not None
            and partition.from_us <= part.from_us < partition.to_us
        ):
            return partition_id
    return ""


def truncate(hot: HotStore, table: str) -> None:
    """Remove all rows of a staging table.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    hot.command(render("truncate.sql", table=table), {})
