"""The durability gate: an expired hot partition goes only when Iceberg has every one of its rows (invariant 6).

Rows and an order-independent checksum by exchange and symbol of the partition must equal those of the cold table.
They are compared twice: where the partition is, and, before the drop, in a table of its own to which it was moved
and into which nothing inserts. A row that arrives between the two comparisons makes them differ and the partition
goes back; a row that arrives after the move founds the partition anew. A gate that died in between leaves the moved
partition to the next one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from config.settings import Settings
from ddl.layers import Retention, load_layers
from offload.clickhouse.checksums import Checksums, add_checksums, cold_sources, merge_key, checksums_of
from offload.clickhouse.client import ClickHouseHttp, HotStore
from offload.clickhouse.templates import render
from offload.files.export import select_of
from offload.files.version_hint import publish_hint
from offload.hourly.late_candles import ColdSilver, are_late_and_confirmed
from offload.proof.sources import EARLIEST_US, LATEST_US
from offload.retention.union_views import mark_cold
from offload.tables.catalog import ensure_tables, open_catalog
from offload.tables.cold_tables import TABLES, ColdTable
from offload.tables.slice_records import left_properties
from offload.tables.slices import Slice, hot_partition, instant, period_of

State = Literal["young", "confirmed", "held", "dropped", "kept"]
_NO_DAY = (
    "no day: an earlier version took a Kafka timestamp in another unit for ms; Iceberg has its rows by their right day"
)


class PartitionVerdict(BaseModel):
    """One hot partition: `young` (not expired), `confirmed` (may go), `dropped`, or `held`, and then `why`.

    `kept` is one whose id is no day (`why` says how it came); it never expires and is no reason for alarm.

    `rows`: what a reader of the hot table sees, 0 where a young partition was not counted. `expires_at`: UTC, from the
    later of event time and arrival of the newest row; unknown (null) where a young partition was not looked into.
    """

    model_config = ConfigDict(frozen=True)

    table: str
    partition: str
    state: State
    rows: int
    expires_at: datetime | None
    why: str = ""


class GateReport(BaseModel):
    """Every hot partition of every table that has a retention."""

    model_config = ConfigDict(frozen=True)

    verdicts: tuple[PartitionVerdict, ...]

    @property
    def held(self) -> tuple[PartitionVerdict, ...]:
        """Partitions that should go and may not."""
        return tuple(verdict for verdict in self.verdicts if verdict.state == "held")


class _Gate:
    """One look at the hot tables; `now` (aware) in place of the server's clock."""

    def __init__(self, settings: Settings, store: HotStore, now: datetime, *, drop: bool) -> None:
        self._catalog, self._namespace = open_catalog(settings), settings.iceberg_namespace
        self._tables = ensure_tables(self._catalog, self._namespace)
        self._hot = store
        self._now = now
        self._drop = drop

    def check_table(self, retention: Retention, cold_tables: Sequence[ColdTable]) -> list[PartitionVerdict]:
        """Verdicts on a hot table's partitions; `cold_tables`: the cold tables that their rows are in."""
        if self._drop:
            for left in self._partitions(leaving(retention.table), retention.partition_prefix):
                # Only a partition that is a day is ever moved away.
                if part := hot_partition(left):
                    self._mark_cold(cold_tables, left, 0)
                    self._drop_or_return(retention.table, cold_tables, left, part)
        partitions = self._partitions(retention.table, retention.partition_prefix)
        return [self._check_partition(retention, cold_tables, partition) for partition in partitions]

    def _partitions(self, table: str, prefix: str) -> list[str]:
        rows = self._hot.rows(render("hot_partitions.sql"), {"table": table})
        return [row["partition_id"] for row in rows if row["partition_id"].startswith(prefix)]

    def _check_partition(self, retention: Retention, cold_tables: Sequence[ColdTable], partition: str) -> PartitionVerdict:
        table, kept = retention.table, timedelta(days=retention.days)
        part = hot_partition(partition)
        if part is None:
            return PartitionVerdict(
                table=table, partition=partition, state="kept", rows=0, expires_at=None, why=_NO_DAY
            )
        if instant(part.from_us) + kept > self._now:
            return PartitionVerdict(table=table, partition=partition, state="young", rows=0, expires_at=None)
        sql = render("hot_age.sql", table=table, event=retention.event_time, arrival=retention.arrival_time)
        row = self._hot.rows(sql, {"partition": partition})[0]
        expires = instant(max(int(row["event_us"]), int(row["arrival_us"]))) + kept
        rows = int(row["hot_rows"])
        if expires > self._now:
            return PartitionVerdict(table=table, partition=partition, state="young", rows=rows, expires_at=expires)
        why = self._first_difference(table, cold_tables, partition, part, {cold.name: cold.hot for cold in cold_tables})
        if not why and self._drop:
            self._mark_cold(cold_tables, partition, int(row["arrival_us"]))
            names = {"source": table, "target": leaving(table)}
            self._hot.command(render("move_partition.sql", **names), {"partition": partition})
            why = self._drop_or_return(table, cold_tables, partition, part)
        state: State = "held" if why else "dropped" if self._drop else "confirmed"
        return PartitionVerdict(table=table, partition=partition, state=state, rows=rows, expires_at=expires, why=why)

    def _mark_cold(self, cold_tables: Sequence[ColdTable], partition: str, until_us: int) -> None:
        """Let the views read a partition in Iceberg, as new as it was compared, before it moves."""
        shown = [cold for cold in cold_tables if cold.layer in {"silver", "gold"}]
        for cold in shown:
            publish_hint(self._catalog, f"{self._namespace}.{cold.name}")
        if shown:
            mark_cold(self._hot, shown, period_of(partition), until_us)

    def _drop_or_return(self, table: str, cold_tables: Sequence[ColdTable], partition: str, part: Slice) -> str:
        """Drop a partition that was moved, or put it back and say why."""
        sources = {cold.name: leaving(cold.hot) for cold in cold_tables}
        why = self._first_difference(leaving(table), cold_tables, partition, part, sources)
        if why:
            names = {"source": leaving(table), "target": table}
            self._hot.command(render("move_partition.sql", **names), {"partition": partition})
        else:
            for cold in cold_tables:
                self._note_left(cold, period_of(partition))
            self._hot.command(render("drop_partition.sql", table=leaving(table)), {"partition": partition})
        return why

    @retry(
        retry=retry_if_exception_type(CommitFailedException),
        stop=stop_after_attempt(10),
        wait=wait_random(0.01, 0.3),
        reraise=True,
    )
    def _note_left(self, cold: ColdTable, period: str) -> None:
        """Remember in Iceberg that it has the day or month alone from now on: missing there, it is missing."""
        with self._tables[cold.name].refresh().transaction() as transaction:
            transaction.set_properties(left_properties(period, self._now))

    def _first_difference(
        self, table: str, cold_tables: Sequence[ColdTable], partition: str, part: Slice, sources: Mapping[str, str]
    ) -> str:
        """As `_difference`, of the first cold table that differs; `sources` by cold table."""
        found = (self._difference(table, cold, partition, part, sources[cold.name]) for cold in cold_tables)
        return next(filter(None, found), "")

    def _difference(self, table: str, cold: ColdTable, partition: str, part: Slice, source: str) -> str:
        """How `source`, which shows the partition of the hot `table`, differs from the cold table; "" if not."""
        here, there = self._compare(table, cold, partition, part, source)
        differing = sorted(group for group in here.keys() | there.keys() if here.get(group) != there.get(group))
        exchanges = {exchange for exchange, _ in differing}
        if not differing or (cold.layer == "gold" and self._are_late_candles(cold, part, source, exchanges)):
            return ""
        exchange, symbol = differing[0]
        hot_rows, cold_rows = (sum(rows for rows, _ in sums.values()) for sums in (here, there))
        named = f"{exchange} {symbol}" + (f" and {len(differing) - 1} more" if len(differing) > 1 else "")
        if hot_rows != cold_rows:
            return f"{hot_rows:,} rows are hot, {cold_rows:,} in Iceberg ({named}): `medallion offload run`"
        return f"values differ from Iceberg's ({named}): see `medallion offload verify`"

    def _compare(self, table: str, cold: ColdTable, partition: str, part: Slice, source: str) -> tuple[Checksums, Checksums]:
        key = merge_key(self._hot, cold) if cold.merges else ""
        hours: list[int] = []
        keys = [""]
        if cold.layer == "gold":
            rows = self._hot.rows(render("hot_exchanges.sql", table=table), {"partition": partition})
            keys = [row["key"] for row in rows]
        else:
            sql = render("hot_hours.sql", table=table, arrival=cold.arrival)
            hours = [int(row["hour_s"]) for row in self._hot.rows(sql, {"partition": partition})]
        select = select_of(cold, partition=cold.layer == "gold", hot=source, event_day=cold.hot_event != cold.arrival)
        here: Checksums = {}
        there: Checksums = {}
        for exchange in keys:
            span = self._span(cold, part, exchange)
            add_checksums(here, checksums_of(self._hot, cold, select, span, key))
            sources = cold_sources(self._hot, self._tables[cold.name], self._files(cold, part), select, span)
            # Rows that merge must meet in one query; sums of other rows add up.
            pieces = ["\nUNION ALL\n".join(sources)] if key and sources else sources
            for piece in pieces:
                names = {"event": cold.hot_event, "arrival": cold.arrival, "hours": hours, "key": exchange}
                add_checksums(there, checksums_of(self._hot, cold, render("cold_partition.sql", source=piece, **names), span, key))
        return here, there

    def _are_late_candles(self, cold: ColdTable, part: Slice, source: str, exchanges: Collection[str]) -> bool:
        """Whether the partition left before, and these exchanges' hot candles are late ones, known to Iceberg, too."""
        sql = render("count_candles.sql", select=select_of(cold, partition=True, hot=source))
        pieces = [Slice(part.from_us, part.to_us, exchange) for exchange in sorted(exchanges)]
        trades = [int(self._hot.rows(sql, self._span(cold, piece, piece.key))[0]["trades"]) for piece in pieces]
        silver = ColdSilver.look(self._hot, self._tables["silver_trades"].refresh())
        return all(
            are_late_and_confirmed(self._hot, silver, self._tables[cold.name], cold, piece, source, count)
            for piece, count in zip(pieces, trades, strict=True)
        )

    def _span(self, cold: ColdTable, part: Slice, exchange: str) -> dict[str, str | int]:
        by_event = bool(cold.arrival) and cold.hot_event != cold.arrival
        return {
            "from_us": EARLIEST_US if by_event else part.from_us,
            "to_us": LATEST_US if by_event else part.to_us,
            "until_us": LATEST_US,
            "event_from_us": part.from_us,
            "event_to_us": part.to_us,
            "key": exchange,
        }

    def _files(self, cold: ColdTable, part: Slice) -> list[str]:
        table: Table = self._tables[cold.name]
        return [task.file.file_path for task in table.scan(row_filter=part.between(cold.hot_event)).plan_files()]


def close_gate(
    settings: Settings,
    *,
    drop: bool = False,
    tables: Collection[str] = (),
    now: datetime | None = None,
    hot: HotStore | None = None,
) -> GateReport:
    """Judge every hot partition, or those of `tables`; with `drop`, let go of those that Iceberg confirms.

    `now` (an aware time) stands in for the present.

    Raises:
        OffloadError: ClickHouse or the warehouse failed; nothing unconfirmed was dropped.
    """
    store: HotStore = hot or ClickHouseHttp(settings)
    gate = _Gate(settings, store, now or datetime.now(UTC), drop=drop)
    chosen = [entry for entry in load_layers().all_retention if not tables or entry.table in tables]
    return GateReport(verdicts=tuple(v for entry in chosen for v in gate.check_table(entry, _cold_tables(entry))))


def _cold_tables(retention: Retention) -> list[ColdTable]:
    """The cold tables that the rows of the hot partitions are in: of Gold one a time frame."""
    place = (retention.table, retention.partition_prefix)
    return [cold for cold in TABLES if (cold.hot_table, cold.partition_prefix) == place]


def leaving(name: str) -> str:
    """The table or view where partitions of `name` wait for the gate's last look (migrations 0008, 0015)."""
    return f"{name}_leaving"
