"""Hot Bronze after cold Bronze was made again: partitions are replaced, and what arrived meanwhile is added.

Nothing waits and nothing is sent to the Bronze topic again: rows that enter a table as partitions pass no view.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyiceberg.catalog import Catalog

from offload.clickhouse.client import HotStore
from offload.clickhouse.templates import render
from offload.proof.sources import EARLIEST_US, LATEST_US
from offload.publish.pause import now_us
from offload.publish.published import file_paths, offloaded_hours, open_hours, partition_of, replace_from_staged
from offload.rederive.bronze import BRONZE, HOT_PENDING, live_query, stage_cold
from offload.tables.slices import DAY_US, HOUR_US, SECOND_US, Slice


@dataclass(frozen=True)
class HotBronze:
    """The hot partitions that are to follow Iceberg, as its table notes them."""

    catalog: Catalog
    namespace: str
    hot: HotStore

    def replace_pending(self) -> list[str]:
        """Replace every hot partition noted; names them. One that is not hot any more has nothing to follow.

        Raises:
            HotStoreError: ClickHouse failed; a repetition does the rest.
        """
        name = f"{self.namespace}.{BRONZE.name}"
        noted = [key for key in self.catalog.load_table(name).properties if key.startswith(HOT_PENDING)]
        days = [Slice(day_us, day_us + DAY_US) for day_us in sorted(int(key.removeprefix(HOT_PENDING)) for key in noted)]
        hot = [day for day in days if partition_of(self.hot, "bronze_trades", day)]
        # Rows of a hot day that moved to one without a partition found it.
        done = [self._replace(day) for day in days] if hot else []
        if noted:
            with self.catalog.load_table(name).transaction() as transaction:
                transaction.remove_properties(*noted)
        return [f"bronze_trades/{partition}" for partition in done if partition]

    def _replace(self, day: Slice) -> str:
        bronze = self.catalog.load_table(f"{self.namespace}.{BRONZE.name}")
        span = {"event_from_us": day.from_us, "event_to_us": day.to_us}
        # A row is stamped before its insert can be seen; of an hour taken while it was open, more may have come.
        since_us = min([now_us(self.hot) - HOUR_US, *(start * SECOND_US for start in open_hours(bronze))])
        self.hot.command(render("truncate.sql", table="bronze_trades_staged"), {})
        self.hot.command(render("stage_bronze_hot.sql", hours=offloaded_hours(bronze)), span)
        stage_cold(self.hot, bronze, file_paths(bronze, "timestamp", day), day, Slice(EARLIEST_US, LATEST_US))
        partition = partition_of(self.hot, "bronze_trades_staged", day)
        if partition_of(self.hot, "bronze_trades", day):
            replace_from_staged(self.hot, "bronze_trades", day)
        elif partition:
            self.hot.command(render("attach_partition.sql", table="bronze_trades"), {"partition": partition})
        self.hot.command(render("truncate.sql", table="bronze_trades_staged"), {})
        database = self.hot.rows("SELECT currentDatabase() AS name", {})[0]["name"]
        query = live_query(self.hot, f"{database}.trades_raw")
        columns = [name for name, _, _ in BRONZE.columns]
        late = render("stage_bronze_late.sql", columns=columns, view_query=query)
        self.hot.command(late, {**span, "since_us": since_us})
        late_partition = partition_of(self.hot, "bronze_trades_staged", day)
        if late_partition:
            self.hot.command(render("attach_partition.sql", table="bronze_trades"), {"partition": late_partition})
        self.hot.command(render("truncate.sql", table="bronze_trades_staged"), {})
        return partition or late_partition
