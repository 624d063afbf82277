"""Re-derives cold Bronze from cold Raw, one arrival hour at a time, then replaces partitions of hot Bronze.

It uses the SQL of the live view. The hours are those in which Bronze has rows of the wanted days, and the hours of the
days themselves: by today's SQL their rows may belong to the days. An hour whose rows stay the same is not written.

Hot partitions are replaced, then rows that arrived meanwhile are added. Inserts do not wait. Rows that enter a table as
a partition pass no view, so nothing is sent to the Bronze topic again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict
from pyiceberg.expressions import And, BooleanExpression, EqualTo
from pyiceberg.io.pyarrow import parquet_file_to_data_file
from pyiceberg.table import Table

from config.valid_times import EARLIEST_US, END_US
from offload.clickhouse.checksums import cold_sources
from offload.clickhouse.client import CHUNK_BYTES, HotStore
from offload.clickhouse.server import partition_of, server_now_us, truncate
from offload.clickhouse.templates import render
from offload.clickhouse.tiers import Tiers
from offload.difference.spill import Spill, bucket_count, ensure_disk_space
from offload.errors import OffloadError
from offload.files.commit import Replacement, replace_slices
from offload.files.data_files import process_attempt
from offload.files.export import Export, select_of, slice_folder
from offload.files.paths import file_paths
from offload.files.replace import separate_hours
from offload.files.scans import parquet_rows, read_rows
from offload.publish.published import replace_from_staged
from offload.tables.cold_tables import BY_NAME, ColdTable
from offload.tables.slice_records import SliceRecord, offloaded_hours, open_hours, read_ledger
from offload.tables.slices import DAY_US, HOUR_US, SECOND_US, Slice, hour, instant, parse_hour_id
from schemas.coordinates import COORDINATES

RAW, BRONZE = BY_NAME["raw_trades"], BY_NAME["bronze_trades"]
# Prefixes of table properties, followed by a day (µs). The first: hot Bronze does not have a commit's rows of the day
# yet. The second: Silver and Gold do not have them yet.
HOT_PENDING, SILVER_PENDING = "medallion.hot-bronze-pending.", "medallion.silver-pending."
# What 0.2 called them. A re-derivation that it did not finish is finished by this version.
_NAMES_OF_0_2 = {HOT_PENDING: "medallion.rebronzed.", SILVER_PENDING: "medallion.rebronzed-silver."}


class BronzeRederiveError(OffloadError):
    """Bronze cannot be re-derived; the message says why."""


class BronzeHourReport(BaseModel):
    """The rows of Bronze that today's SQL changes in one arrival hour (UTC), by raw coordinates."""

    model_config = ConfigDict(frozen=True)

    hour: datetime
    rows: int
    added: int
    removed: int
    altered: int


@dataclass(frozen=True)
class RederivedHour:
    """Bronze of one arrival hour by today's SQL.

    `files`: topics with their local files. `days`: days (µs) whose rows change. `moved`: a row changes its day.
    """

    part: Slice
    files: tuple[tuple[str, Path], ...]
    report: BronzeHourReport
    days: frozenset[int]
    moved: bool

    @property
    def changes(self) -> bool:
        """Whether any row changes."""
        return bool(self.report.added or self.report.removed or self.report.altered)


@dataclass(frozen=True)
class BronzeRederivation:
    """Re-derives cold Bronze. `exchange`: rows of other exchanges stay as they are."""

    tiers: Tiers
    exchange: str = ""

    @property
    def hot(self) -> HotStore:
        """ClickHouse."""
        return self.tiers.hot

    def hours(self, span: Slice) -> list[Slice]:
        """The arrival hours in Iceberg that may have Raw of the days of `span`.

        Raises:
            BronzeRederiveError: Iceberg lacks Raw of an hour that it has Bronze of.
        """
        bronze = self._load(BRONZE)
        wanted: BooleanExpression = span.between("timestamp")
        if self.exchange:
            wanted = And(wanted, EqualTo("exchange", self.exchange))  # type: ignore[call-arg, arg-type]
        starts: set[int] = set()
        for piece in read_rows(bronze, wanted, ["ingested_at"]):
            starts |= set((piece["ingested_at"].dt.epoch("us") // HOUR_US * HOUR_US).to_list())
        known = {parse_hour_id(name).from_us for name in read_ledger(self._load(RAW).properties)}
        missing = sorted(starts - known)
        if missing:
            raise BronzeRederiveError(
                f"cold.raw_trades lacks the hour {instant(missing[0]):%Y-%m-%dT%H}, which cold.bronze_trades has: "
                "run `medallion offload run --layer raw`, or re-derive from Bronze."
            )
        starts |= {start for start in known if span.from_us <= start < span.to_us}
        return [hour(start) for start in sorted(starts)]

    def rederive_hour(self, part: Slice, folder: Path) -> RederivedHour:
        """Write the hour's rows by today's SQL to `folder` (empty), and compare them with Iceberg.

        Raises:
            HotStoreError: ClickHouse failed.
        """
        raw, bronze = self._load(RAW), self._load(BRONZE)
        truncate(self.hot, "bronze_trades_staged")
        span = {"from_us": part.from_us, "to_us": part.to_us}
        columns = [name for name, _, _ in BRONZE.columns]
        paths = file_paths(raw, part.predicate(RAW))
        for source in cold_sources(self.hot, raw, paths, select_of(RAW, partition=False), span):
            text = render("raw_as_live.sql", source=source, key=self.exchange)
            query = live_query(self.hot, f"(\n{text}\n)")
            self.hot.command(render("stage_bronze_new.sql", columns=columns, view_query=query), span)
        if self.exchange:
            everything = Slice(EARLIEST_US, END_US)
            paths = file_paths(bronze, part.predicate(BRONZE))
            stage_cold(self.hot, bronze, paths, everything, part, self.exchange)
        files = tuple(self._fetch(part, folder))
        return self._compare(bronze, part, files, folder)

    def commit(self, rederived: RederivedHour) -> None:
        """Replace the hour in Iceberg, and record the days that hot Bronze, Silver and Gold must update.

        Raises:
            CommitConflictError: an offload changed the hour meanwhile.
        """
        part, attempt = rederived.part, process_attempt()
        table = separate_hours(self.hot, self.tiers.cold, BRONZE, [part])
        new = []
        for number, (_, path) in enumerate(rederived.files):
            target = f"{slice_folder(table, part)}/{attempt}-{number:05d}.parquet"
            with path.open("rb") as source, table.io.new_output(target).create() as output:
                shutil.copyfileobj(source, output, CHUNK_BYTES)
            new.append(parquet_file_to_data_file(table.io, table.metadata, target))
        known = read_ledger(table.properties).get(part.id)
        rows = rederived.report.rows
        measure, until_us, final = (known.measure, known.until_us, known.final) if known else (rows, part.to_us, True)
        # An offload exports an hour that has more hot rows than the measure. With a lower measure it would bring the
        # old rows back.
        record = SliceRecord(attempt=attempt, rows=rows, measure=max(measure, rows), until_us=until_us, final=final)
        pending = {f"{prefix}{day_us}": "" for day_us in rederived.days for prefix in (HOT_PENDING, SILVER_PENDING)}
        replace_slices(table, BRONZE, attempt, [Replacement(Export(part, tuple(new)), record)], pending)

    def pending_days(self) -> set[int]:
        """Days (µs) whose Silver and Gold do not have the rows of a `commit` yet."""
        return {*_pending(self._load(BRONZE), SILVER_PENDING).values()}

    def clear_pending(self, days: set[int]) -> None:
        """Record that Silver and Gold of these days (µs) have the rows of every `commit`."""
        table = self._load(BRONZE)
        if done := [name for name, day_us in _pending(table, SILVER_PENDING).items() if day_us in days]:
            with table.transaction() as transaction:
                transaction.remove_properties(*done)

    def _fetch(self, part: Slice, folder: Path) -> Iterator[tuple[str, Path]]:
        """The staged rows as the offload would write them, one file for each topic."""
        select = select_of(BRONZE, partition=True, hot="bronze_trades_staged")
        span = {"from_us": part.from_us, "to_us": part.to_us}
        topics = self.hot.rows(
            render("partitions_arrival.sql", hot="bronze_trades_staged", key="raw_topic", arrival=BRONZE.arrival), span
        )
        for number, row in enumerate(topics):
            path = folder / f"{number}.parquet"
            with self.hot.parquet(select, {**span, "key": row["key"]}) as chunks, path.open("wb") as output:
                for chunk in chunks:
                    output.write(chunk)
            yield str(row["key"]), path

    def _compare(self, bronze: Table, part: Slice, files: Sequence[tuple[str, Path]], folder: Path) -> RederivedHour:
        known = read_ledger(bronze.properties).get(part.id)
        rows = sum(pq.ParquetFile(path).metadata.num_rows for _, path in files)
        size = rows + (known.rows if known else 0)
        ensure_disk_space(folder, size, "re-derive one --exchange or --symbol at a time")
        buckets = max(1, bucket_count(size))
        of_message = pl.col("raw_offset") % buckets
        before, after = (Spill(folder / name, buckets, of_message) for name in ("before", "after"))
        for piece in read_rows(bronze, part.predicate(BRONZE)):
            before.add(piece)
            names = piece.columns
        after.add(before.empty)
        for piece in parquet_rows([path for _, path in files]):
            after.add(piece.select(names).cast(before.empty.schema))
        added = removed = altered = 0
        days: set[int] = set()
        moved = False
        for bucket in range(buckets):
            old, new = before.read(bucket), after.read(bucket)
            leaving = old.join(new, on=names, how="anti", nulls_equal=True)
            coming = new.join(old, on=names, how="anti", nulls_equal=True)
            both = coming.join(leaving, on=COORDINATES, how="inner")
            altered += both.height
            added += coming.height - both.height
            removed += leaving.height - both.height
            moved |= bool((both["timestamp"].dt.date() != both["timestamp_right"].dt.date()).any())
            for frame in (leaving, coming):
                days |= set((frame["timestamp"].dt.epoch("us") // DAY_US * DAY_US).to_list())
        report = BronzeHourReport(hour=instant(part.from_us), rows=rows, added=added, removed=removed, altered=altered)
        return RederivedHour(part, tuple(files), report, frozenset(days), moved)

    def _load(self, cold: ColdTable) -> Table:
        return self.tiers.cold.load(cold)


@dataclass(frozen=True)
class HotBronze:
    """The hot partitions of Bronze that must be replaced, as the properties of the cold table name them."""

    tiers: Tiers

    def replace_pending(self) -> list[str]:
        """Replace these partitions; returns their names. A partition that is no longer hot is skipped.

        Raises:
            HotStoreError: ClickHouse failed; a repetition replaces the rest.
        """
        hot, table = self.tiers.hot, self.tiers.cold.load(BRONZE)
        pending = _pending(table, HOT_PENDING)
        days = [Slice(day_us, day_us + DAY_US) for day_us in sorted({*pending.values()})]
        is_any_hot = any(partition_of(hot, "bronze_trades", day) for day in days)
        # Rows of a hot day may move to a day without a partition, and then create it.
        replaced = [self._replace(day) for day in days] if is_any_hot else []
        if pending:
            with self.tiers.cold.load(BRONZE).transaction() as transaction:
                transaction.remove_properties(*pending)
        return [f"bronze_trades/{partition}" for partition in replaced if partition]

    def _replace(self, day: Slice) -> str:
        hot, bronze = self.tiers.hot, self.tiers.cold.load(BRONZE)
        span = {"event_from_us": day.from_us, "event_to_us": day.to_us}
        # A row is stamped before its insert is visible, and an hour that was offloaded while open may have got more
        # rows.
        opened = (start * SECOND_US for start in open_hours(bronze.properties))
        since_us = min([server_now_us(hot) - HOUR_US, *opened])
        truncate(hot, "bronze_trades_staged")
        hot.command(render("stage_bronze_hot.sql", hours=offloaded_hours(bronze.properties)), span)
        stage_cold(hot, bronze, file_paths(bronze, day.between("timestamp")), day, Slice(EARLIEST_US, END_US))
        partition = partition_of(hot, "bronze_trades_staged", day)
        if partition_of(hot, "bronze_trades", day):
            replace_from_staged(hot, "bronze_trades", day)
        elif partition:
            hot.command(render("attach_partition.sql", table="bronze_trades"), {"partition": partition})
        truncate(hot, "bronze_trades_staged")
        query = live_query(hot, f"{self.tiers.settings.clickhouse_database}.trades_raw")
        columns = [name for name, _, _ in BRONZE.columns]
        late = render("stage_bronze_late.sql", columns=columns, view_query=query)
        hot.command(late, {**span, "since_us": since_us})
        late_partition = partition_of(hot, "bronze_trades_staged", day)
        if late_partition:
            hot.command(render("attach_partition.sql", table="bronze_trades"), {"partition": late_partition})
        truncate(hot, "bronze_trades_staged")
        return partition or late_partition


def _pending(bronze: Table, prefix: str) -> dict[str, int]:
    """The days (µs) by the properties that note them under the prefix, or under its name of 0.2."""
    return {
        name: int(name.removeprefix(known))
        for known in (prefix, _NAMES_OF_0_2[prefix])
        for name in bronze.properties
        if name.startswith(known)
    }


def live_query(hot: HotStore, source: str) -> str:
    """The query of the live view of Bronze, reading from `source` instead of trades_raw.

    Raises:
        BronzeRederiveError: the view is missing, or reads from something else.
    """
    views = hot.rows(render("view_query.sql"), {"view": "bronze_trades_mv"})
    if not views:
        raise BronzeRederiveError("bronze_trades_mv is missing: see `medallion ddl status`.")
    query, raw = str(views[0]["as_select"]), f"FROM {views[0]['db']}.trades_raw AS raw"
    if query.count(raw) != 1:
        raise BronzeRederiveError(
            f"bronze_trades_mv must name '{raw}' once: see `medallion ddl status`. Its query is: {query}"
        )
    return query.replace(raw, f"FROM {source} AS raw")


def stage_cold(
    hot: HotStore, bronze: Table, paths: list[str], events: Slice, arrivals: Slice, except_exchange: str = ""
) -> None:
    """Copy cold Bronze rows of a span of event time and of arrival to the staging table, without one exchange."""
    select = select_of(BRONZE, partition=False)
    span: dict[str, str | int | list[str]] = {"from_us": arrivals.from_us, "to_us": arrivals.to_us}
    parameters = {
        **span,
        "except_exchange": except_exchange,
        "event_from_us": events.from_us,
        "event_to_us": events.to_us,
    }
    columns = [name for name, _, _ in BRONZE.columns]
    for source in cold_sources(hot, bronze, paths, select, span):
        hot.command(render("stage_bronze_kept.sql", columns=columns, source=source), parameters)
