"""The durability gate: an expired hot partition is dropped only when Iceberg has every one of its rows.

Row counts and an order-independent checksum by exchange and symbol must be equal in the partition and the cold table.
The gate compares twice: in place, and again after it has moved the partition to a separate table into which nothing
inserts. If a row arrives between the comparisons, the second one differs and the gate moves the partition back. A row
that arrives after the move creates the partition again. If a gate dies after a move, the next gate drops the partition
or moves it back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict
from pyiceberg.exceptions import CommitFailedException

from config.process.retry import retry_on_conflict
from config.valid_times import EARLIEST_US, END_US
from ddl.layers import Retention, load_layers
from offload.clickhouse.checksums import Checksums, add_checksums, checksums_of, cold_sources, merge_key
from offload.clickhouse.server import partition_rows
from offload.clickhouse.templates import render
from offload.clickhouse.tiers import Tiers
from offload.files.export import select_of
from offload.files.paths import file_paths
from offload.files.version_hint import publish_hint
from offload.hourly.late_candles import ColdSilver, are_late_and_confirmed
from offload.report import OnTable
from offload.retention.union_views import mark_cold
from offload.tables.cold_tables import BY_NAME, STAGING, TABLES, ColdTable
from offload.tables.slice_records import left_properties
from offload.tables.slices import Slice, hot_partition, instant, period_of

State = Literal["young", "confirmed", "held", "dropped", "kept"]
_NO_DAY = (
    "no day: an earlier version read a Kafka timestamp of another unit as ms; Iceberg has its rows under the right day"
)


class PartitionVerdict(BaseModel):
    """One hot partition: `young` (not expired), `confirmed` (may be dropped), `dropped`, or `held` (`why`: the reason).

    `kept`: its id is no day (`why`: the reason). It never expires and needs no action.

    `rows`: those that a reader of the hot table sees; 0 if a young partition was not counted. `expires_at` (UTC): the
    newest event time or arrival of its rows, plus the retention; null if a young partition was not read.
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
        """Partitions that have expired and may not be dropped."""
        return tuple(verdict for verdict in self.verdicts if verdict.state == "held")


class _Gate:
    """One check of the hot tables at the time `now` (aware)."""

    def __init__(self, tiers: Tiers, now: datetime, *, drop: bool) -> None:
        self._cold, self._hot = tiers.cold, tiers.hot
        self._tables = tiers.cold.load_all()
        self._now = now
        self._drop = drop
        # Partitions that a gate which died has moved.
        targets = {leaving(entry.table) for entry in load_layers().all_retention}
        self._moved = partition_rows(self._hot, targets) if drop else {}

    def check_table(self, retention: Retention, cold_tables: Sequence[ColdTable]) -> list[PartitionVerdict]:
        """Check a hot table's partitions; `cold_tables` have their rows."""
        table, prefix = retention.table, retention.partition_prefix
        for moved in self._moved.get(leaving(table), ()):
            # Only partitions that are a day or month are ever moved.
            if moved.startswith(prefix) and (part := hot_partition(moved)):
                self._mark_cold(cold_tables, moved, 0)
                self._drop_or_return(table, cold_tables, moved, part)
        partitions = [name for name in partition_rows(self._hot, [table])[table] if name.startswith(prefix)]
        return [self._check_partition(retention, cold_tables, partition) for partition in partitions]

    def _check_partition(
        self, retention: Retention, cold_tables: Sequence[ColdTable], partition: str
    ) -> PartitionVerdict:
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
        """Let the views read the compared rows of a partition from Iceberg before it is moved."""
        shown = [cold for cold in cold_tables if cold.has_union_view]
        for cold in shown:
            publish_hint(self._cold, cold)
        if shown:
            mark_cold(self._hot, shown, period_of(partition), until_us)

    def _drop_or_return(self, table: str, cold_tables: Sequence[ColdTable], partition: str, part: Slice) -> str:
        """Drop a partition that was moved and return ""; or move it back and return why."""
        sources = {cold.name: leaving(cold.hot) for cold in cold_tables}
        why = self._first_difference(leaving(table), cold_tables, partition, part, sources)
        if why:
            names = {"source": leaving(table), "target": table}
            self._hot.command(render("move_partition.sql", **names), {"partition": partition})
        else:
            for cold in (cold for cold in cold_tables if cold in TABLES):
                self._note_left(cold, period_of(partition))
            self._hot.command(render("drop_partition.sql", table=leaving(table)), {"partition": partition})
        return why

    @retry_on_conflict(CommitFailedException)
    def _note_left(self, cold: ColdTable, period: str) -> None:
        """Record in Iceberg that only Iceberg has the day or month from now on."""
        with self._tables[cold.name].refresh().transaction() as transaction:
            transaction.set_properties(left_properties(period, self._now))

    def _first_difference(
        self, table: str, cold_tables: Sequence[ColdTable], partition: str, part: Slice, sources: Mapping[str, str]
    ) -> str:
        """`_difference` of the first cold table that differs; `sources` by cold table."""
        if not cold_tables:
            return "no cold table has its rows: take its days out of the retention"
        differences = (self._difference(table, cold, partition, part, sources[cold.name]) for cold in cold_tables)
        return next(filter(None, differences), "")

    def _difference(self, table: str, cold: ColdTable, partition: str, part: Slice, source: str) -> str:
        """How the partition of the hot `table`, read through `source`, differs from the cold table; "" if not."""
        hot_sums, cold_sums = self._compare(table, cold, partition, part, source)
        groups = hot_sums.keys() | cold_sums.keys()
        differing = sorted(group for group in groups if hot_sums.get(group) != cold_sums.get(group))
        exchanges = {exchange for exchange, _ in differing}
        if not differing or (cold.layer == "gold" and self._are_late_candles(cold, part, source, exchanges)):
            return ""
        exchange, symbol = differing[0]
        hot_rows, cold_rows = (sum(rows for rows, _ in sums.values()) for sums in (hot_sums, cold_sums))
        named = f"{exchange} {symbol}".strip() or "no market"
        named += f" and {len(differing) - 1} more" if len(differing) > 1 else ""
        if hot_rows != cold_rows:
            return f"{hot_rows:,} rows are hot, {cold_rows:,} in Iceberg ({named}): run `medallion offload run`"
        return f"values differ from Iceberg's ({named}): see `medallion offload verify`"

    def _compare(
        self, table: str, cold: ColdTable, partition: str, part: Slice, source: str
    ) -> tuple[Checksums, Checksums]:
        key = merge_key(self._hot, cold) if cold.merges else ""
        hours: list[int] = []
        keys = [""]
        if cold.layer == "gold":
            exchanges = self._hot.rows(render("hot_exchanges.sql", table=table), {"partition": partition})
            keys = [row["key"] for row in exchanges]
        else:
            sql = render("hot_hours.sql", table=table, arrival=cold.arrival)
            hours = [int(row["hour_s"]) for row in self._hot.rows(sql, {"partition": partition})]
        select = select_of(cold, partition=cold.layer == "gold", hot=source, event_day=cold.hot_event != cold.arrival)
        hot_sums: Checksums = {}
        cold_sums: Checksums = {}
        for exchange in keys:
            span = self._span(cold, part, exchange)
            add_checksums(hot_sums, checksums_of(self._hot, cold, select, span, key))
            iceberg_table = self._tables[cold.name]
            paths = file_paths(iceberg_table, part.between(cold.hot_event))
            sources = cold_sources(self._hot, iceberg_table, paths, select, span)
            # Rows that merge must be in one query. Checksums of other rows add up.
            pieces = ["\nUNION ALL\n".join(sources)] if key and sources else sources
            for piece in pieces:
                names = {"event": cold.hot_event, "arrival": cold.arrival, "hours": hours, "key": exchange}
                rows = render("cold_partition.sql", source=piece, **names)
                add_checksums(cold_sums, checksums_of(self._hot, cold, rows, span, key))
        return hot_sums, cold_sums

    def _are_late_candles(self, cold: ColdTable, part: Slice, source: str, exchanges: Collection[str]) -> bool:
        """Whether these exchanges' candles are late and correct in Iceberg (`offload.hourly.late_candles`)."""
        sql = render("count_candles.sql", select=select_of(cold, partition=True, hot=source))
        pieces = [Slice(part.from_us, part.to_us, exchange) for exchange in sorted(exchanges)]
        trades = [int(self._hot.rows(sql, self._span(cold, piece, piece.key))[0]["trades"]) for piece in pieces]
        silver = ColdSilver.read(self._hot, self._cold.load(BY_NAME["silver_trades"]))
        return all(
            are_late_and_confirmed(self._hot, silver, self._tables[cold.name], cold, piece, source, count)
            for piece, count in zip(pieces, trades, strict=True)
        )

    def _span(self, cold: ColdTable, part: Slice, exchange: str) -> dict[str, str | int]:
        by_event = bool(cold.arrival) and cold.hot_event != cold.arrival
        return {
            "from_us": EARLIEST_US if by_event else part.from_us,
            "to_us": END_US if by_event else part.to_us,
            "until_us": END_US,
            "event_from_us": part.from_us,
            "event_to_us": part.to_us,
            "key": exchange,
        }


def close_gate(
    tiers: Tiers,
    *,
    drop: bool = False,
    tables: Collection[str] = (),
    now: datetime | None = None,
    progress: OnTable = lambda *_: None,
) -> GateReport:
    """Check every hot partition, or those of `tables`; with `drop`, drop those that Iceberg confirms.

    `now` (an aware time) replaces the present.

    Raises:
        OffloadError: ClickHouse or the warehouse failed; nothing unconfirmed was dropped.
    """
    gate = _Gate(tiers, now or datetime.now(UTC), drop=drop)
    chosen = [entry for entry in load_layers().all_retention if not tables or entry.table in tables]
    verdicts: list[PartitionVerdict] = []
    for number, entry in enumerate(chosen):
        progress(entry.table, number, len(chosen))
        verdicts += gate.check_table(entry, _cold_tables(entry))
    return GateReport(verdicts=tuple(verdicts))


def _cold_tables(retention: Retention) -> list[ColdTable]:
    """The cold tables that have the rows of the hot partitions; for Gold one for each time frame."""
    place = (retention.table, retention.partition_prefix)
    return [cold for cold in (*TABLES, *STAGING) if (cold.hot_table, cold.partition_prefix) == place]


def leaving(name: str) -> str:
    """The table or view to which the gate moves partitions of `name` before it drops them (migrations 0008, 0015)."""
    return f"{name}_leaving"
