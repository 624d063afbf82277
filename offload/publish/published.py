"""Whether the hot rows of an exchange and day are those of Iceberg, and which partitions hold them."""

from __future__ import annotations

from collections.abc import Mapping

from pyiceberg.table import Table

from offload.clickhouse.checksums import Checksums, add_checksums, cold_sources, checksums_of
from offload.clickhouse.client import HotStore
from offload.clickhouse.templates import render
from offload.files.export import select_of
from offload.proof.sources import EARLIEST_US, LATEST_US
from offload.tables.cold_tables import TABLES
from offload.tables.slice_records import read_ledger
from offload.tables.slices import SECOND_US, Slice, hot_partition, parse_hour_id


def is_published(hot: HotStore, tables: Mapping[str, Table], part: Slice) -> bool:
    """Whether the hot rows of an exchange and day, as far as they are hot, are those of Iceberg.

    `tables`: cold tables by name. Hours that are not offloaded yet do not count.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    hours = offloaded_hours(tables["silver_trades"])
    for cold in TABLES:
        if cold.layer not in {"silver", "gold"}:
            continue
        if not partition_of(hot, cold.hot_table, part, cold.partition_prefix):
            continue
        span = day_span(part)
        if cold.layer == "gold":
            span |= {"from_us": part.from_us, "to_us": part.to_us, "until_us": LATEST_US}
        select = select_of(cold, partition=False, event_day=True)
        chosen = hours if cold.layer == "silver" else []
        here = checksums_of(hot, cold, render("hot_day.sql", select=select, hours=chosen), span)
        table = tables[cold.name]
        there: Checksums = {}
        for source in cold_sources(hot, table, file_paths(table, cold.hot_event, part), select, span):
            names = {"event": cold.hot_event, "arrival": cold.arrival, "hours": [], "key": part.key}
            add_checksums(there, checksums_of(hot, cold, render("cold_partition.sql", source=source, **names), span))
        if here != there:
            return False
    return True


def day_span(part: Slice) -> dict[str, str | int | list[str]]:
    """Query parameters: the exchange and day, whatever the time of arrival."""
    return {
        "key": part.key,
        "event_from_us": part.from_us,
        "event_to_us": part.to_us,
        "from_us": EARLIEST_US,
        "to_us": LATEST_US,
    }


def file_paths(table: Table, column: str, part: Slice) -> list[str]:
    """Live files that may hold rows of the span by a time column."""
    return [task.file.file_path for task in table.scan(row_filter=part.between(column)).plan_files()]


def offloaded_hours(silver: Table) -> list[int]:
    """Starts (s) of the arrival hours that Iceberg has, the open ones too."""
    return [parse_hour_id(name).from_us // SECOND_US for name in read_ledger(silver.properties)]


def open_hours(silver: Table) -> list[int]:
    """Those of them that were not over when they were taken (`offload run --until-now`): more may have come since."""
    ledger = read_ledger(silver.properties)
    return [parse_hour_id(name).from_us // SECOND_US for name, record in ledger.items() if not record.final]


def replace_from_staged(hot: HotStore, table: str, part: Slice) -> None:
    """Let the day's partition be what its twin has, in one step that readers see whole or not at all.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    partition = {"partition": partition_of(hot, table, part)}
    # A server refuses to replace by nothing.
    is_empty = not partition_of(hot, f"{table}_staged", part)
    hot.command(render("drop_partition.sql" if is_empty else "replace_partition.sql", table=table), partition)


def partition_of(hot: HotStore, table: str, part: Slice, prefix: str = "") -> str:
    """The id of the hot partition that holds the day, or nothing if there is none; of those whose ids begin so."""
    for row in hot.rows(render("hot_partitions.sql"), {"table": table}):
        partition = hot_partition(row["partition_id"])
        is_asked = str(row["partition_id"]).startswith(prefix)
        if is_asked and partition is not None and partition.from_us <= part.from_us < partition.to_us:
            return str(row["partition_id"])
    return ""
