"""Compares the hot rows of an exchange and day with Iceberg, and replaces a day's partition."""

from __future__ import annotations

from collections.abc import Mapping

from pyiceberg.table import Table

from config.valid_times import EARLIEST_US, END_US
from offload.clickhouse.checksums import Checksums, add_checksums, checksums_of, cold_sources
from offload.clickhouse.client import HotStore
from offload.clickhouse.server import partition_of
from offload.clickhouse.shards import Shards
from offload.clickhouse.templates import render
from offload.files.export import select_of
from offload.files.paths import file_paths
from offload.retention.union_views import left_periods, period_at
from offload.tables.cold_tables import BY_NAME, GOLD, ColdTable
from offload.tables.slice_records import offloaded_hours
from offload.tables.slices import Slice


def is_published(shards: Shards, tables: Mapping[str, Table], part: Slice) -> bool:
    """Whether the hot rows of an exchange and day are equal to those of Iceberg.

    `tables`: cold tables by name. Partitions that are only cold, and hours not offloaded yet, are not compared.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    hot = shards.whole
    hours = offloaded_hours(tables["silver_trades"].properties)
    for cold in (BY_NAME["silver_trades"], *GOLD):
        if not hot_partition_of(shards, cold, part):
            continue
        span = day_span(part)
        if cold.layer == "gold":
            span |= {"from_us": part.from_us, "to_us": part.to_us, "until_us": END_US}
        select = select_of(cold, partition=False, event_day=True)
        chosen = hours if cold.layer == "silver" else []
        hot_sums = checksums_of(hot, cold, render("hot_day.sql", select=select, hours=chosen), span)
        table = tables[cold.name]
        cold_sums: Checksums = {}
        for source in cold_sources(hot, table, file_paths(table, part.between(cold.hot_event)), select, span):
            names = {"event": cold.hot_event, "arrival": cold.arrival, "hours": [], "key": part.key}
            add_checksums(
                cold_sums, checksums_of(hot, cold, render("cold_partition.sql", source=source, **names), span)
            )
        if hot_sums != cold_sums:
            return False
    return True


def hot_partition_of(shards: Shards, cold: ColdTable, day: Slice) -> str:
    """The id of the hot partition, of any shard, to which the rows of a day belong; "" if the day is only cold now.

    A day without a hot partition that has never left the hot tables is hot, since trades may move to it.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    of_shards = (partition_of(shard, cold.hot_table, day, cold.partition_prefix) for shard in shards.each)
    if partition := next(filter(None, of_shards), ""):
        return partition
    period = period_at(cold, day.from_us)
    return "" if period in left_periods(shards.whole, cold) else f"{cold.partition_prefix}{period}"


def day_span(part: Slice) -> dict[str, str | int | list[str]]:
    """Query parameters for an exchange and day of event time, with any time of arrival."""
    return {
        "key": part.key,
        "event_from_us": part.from_us,
        "event_to_us": part.to_us,
        "from_us": EARLIEST_US,
        "to_us": END_US,
    }


def replace_from_staged(hot: HotStore, table: str, part: Slice) -> None:
    """Replace the day's partition by that of the staging table, in one step: readers see the old rows or the new ones.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    staged = partition_of(hot, f"{table}_staged", part)
    # ClickHouse refuses to replace a partition by an empty one.
    sql = render("replace_partition.sql" if staged else "drop_partition.sql", table=table)
    if partition := staged or partition_of(hot, table, part):
        hot.command(sql, {"partition": partition})
