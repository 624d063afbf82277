"""Re-derivation: Silver and Gold again from cold Bronze by today's rules, one exchange and day at a time.

Each step compares what there is with what there should be and does only what is missing, so a re-derivation that was
killed is finished by the next one, and one that is repeated changes nothing. A day's Silver is replaced by one
snapshot; the version before it stays readable through its own until it expires, or for good through a pin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.expressions import And, BooleanExpression, EqualTo
from pyiceberg.io.pyarrow import ArrowScan, parquet_file_to_data_file
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from config.registry import SymbolRegistry
from config.settings import Settings
from offload.catalog import ensure_tables, open_catalog
from offload.commit import Replacement, replace_slices
from offload.errors import CommitConflictError, OffloadError
from offload.export import Export, slice_folder
from offload.hot import ClickHouseHttp, HotStore
from offload.ledger import (
    SUMMARY_ATTEMPT,
    SUMMARY_SLICES,
    SliceRecord,
    ledger_properties,
    read_ledger,
    read_silver_windows,
    silver_properties,
)
from offload.publish import is_published, publish
from offload.redo import IDENTITY, Redone, candles, candles_altered, redo
from offload.slices import DAY_US, GRACE_US, HOUR_US, Slice, gold_slices, hour, instant, micros, parse_hour_id
from offload.swap import separate
from offload.tables import BY_NAME, TABLES, ColdTable
from offload.task import new_attempt
from offload.templates import render
from schemas.records import BRONZE
from silver_processor.core.rules import Rules

_SILVER, _BRONZE = BY_NAME["silver_trades"], BY_NAME["bronze_trades"]


class RederiveError(OffloadError):
    """The span cannot be re-derived; the message says why."""


class DayReport(BaseModel):
    """What today's rules change in one exchange and day (UTC, event time).

    Rows of Silver `added`, `removed` and `altered`; `candles_altered` by time frame; `unfounded` rows have no Bronze
    row and stay. `published`: hot partitions that were replaced.
    """

    model_config = ConfigDict(frozen=True)

    exchange: str
    day: str
    rows: int
    added: int
    removed: int
    altered: int
    unfounded: int
    candles_altered: dict[str, int]
    published: tuple[str, ...] = ()


def rederive(
    settings: Settings,
    start: datetime,
    end: datetime,
    *,
    exchange: str = "",
    symbol: str = "",
    dry_run: bool = False,
    hot: HotStore | None = None,
    progress: Callable[[DayReport], None] = lambda _: None,
) -> list[DayReport]:
    """Re-derive the days of event time in [start, end) (aware times, cut to whole UTC days), all exchanges or one.

    `symbol` (canonical) leaves the rows of other symbols as they are.

    Raises:
        RederiveError: a day is not over.
        OffloadError: as `offload.run.run`; days before the one at hand are done.
    """
    store: HotStore = hot or ClickHouseHttp(settings)
    catalog = open_catalog(settings)
    ensure_tables(catalog, settings.iceberg_namespace)
    rules = Rules.of(SymbolRegistry.load(settings.symbols_file))
    now_us = int(store.rows(render("clock.sql"), {})[0]["now_us"])
    first, last = micros(start) // DAY_US * DAY_US, -(-micros(end) // DAY_US) * DAY_US
    if last + GRACE_US > now_us:
        raise RederiveError("Only days that are over can be re-derived: end at midnight UTC of today, or earlier.")
    found = []
    for day_us in range(first, last, DAY_US):
        for code in [exchange] if exchange else rules.exchanges.to_list():
            work = _Day(settings, catalog, store, rules, Slice(day_us, day_us + DAY_US, code), symbol)
            report = work.look() if dry_run else work.do()
            if report is not None:
                found.append(report)
                progress(report)
    return found


@dataclass(frozen=True)
class _Day:
    settings: Settings
    catalog: Catalog
    hot: HotStore
    rules: Rules
    part: Slice
    symbol: str

    def look(self) -> DayReport | None:
        """What would change; None if there is nothing of this exchange and day."""
        table = self._load(_SILVER)
        before = self._silver(table)
        redone = self._redo(before)
        return self._report(before, redone) if redone.rows.height or before.height else None

    def do(self) -> DayReport | None:
        """Make it so, first in Iceberg, then in the hot tier."""
        table = self._load(_SILVER)
        hours = [parse_hour_id(name) for name in read_ledger(table.properties)]
        name = f"{self.settings.iceberg_namespace}.{_SILVER.name}"
        table = separate(self.hot, self.catalog, name, _SILVER, hours, self._predicate("timestamp"))
        before = self._silver(table)
        redone = self._redo(before)
        if not redone.rows.height and not before.height:
            return None
        report = self._report(before, redone)
        if redone.added.height or redone.removed.height or redone.altered.height:
            earlier = read_ledger(table.properties)
            table = self._replace_silver(table, before, redone)
            measures = {name: record.measure for name, record in earlier.items()}
        else:
            measures = {}
        if self.symbol:
            redone = self._whole(table, redone)
        for cold in TABLES:
            if cold.layer == "gold":
                self._replace_gold(cold, redone.rows, measures, read_ledger(table.properties))
        tables = {cold.name: self._load(cold) for cold in TABLES}
        if is_published(self.hot, tables, self.part):
            return report
        paths = [file.file_path for file in self._files(table)]
        return report.model_copy(update={"published": tuple(publish(self.hot, table, _SILVER, self.part, paths))})

    def _load(self, cold: ColdTable) -> Table:
        return self.catalog.load_table(f"{self.settings.iceberg_namespace}.{cold.name}")

    def _predicate(self, column: str) -> BooleanExpression:
        span = Slice(self.part.from_us, self.part.to_us).between(column)
        # pyiceberg accepts plain names and values here, which its annotations do not say.
        return And(span, EqualTo("exchange", self.part.key))  # type: ignore[call-arg, arg-type]

    def _files(self, table: Table) -> list[DataFile]:
        return [task.file for task in table.scan(row_filter=self._predicate("timestamp")).plan_files()]

    def _silver(self, table: Table) -> pl.DataFrame:
        found = _read(table, self._predicate("timestamp"))
        return found.filter(pl.col("symbol") == self.symbol) if self.symbol else found

    def _redo(self, before: pl.DataFrame) -> Redone:
        bronze = _read(self._load(_BRONZE), self._predicate("timestamp"), BRONZE.names)
        if self.symbol:
            markets = self.rules.markets.filter(
                (pl.col("exchange") == self.part.key) & (pl.col("canonical") == self.symbol)
            )
            bronze = bronze.filter(pl.col("symbol").is_in(markets["exchange_symbol"].implode()))
        # A redelivery is in two windows: the earlier one is the message.
        bronze = bronze.sort("ingested_at", "raw_topic", "raw_partition", "raw_offset").unique(
            ["raw_topic", "raw_partition", "raw_offset", "published_at"], keep="first", maintain_order=True
        )
        rows = bronze.to_arrow().cast(BRONZE)
        nobody = before.select(IDENTITY).clear()
        redone = redo(rows, before, nobody, self.rules)
        if not redone.added.height:
            return redone
        return redo(rows, before, self._elsewhere(redone.added), self.rules)

    def _elsewhere(self, added: pl.DataFrame) -> pl.DataFrame:
        """Those of the new identities that Silver has on another day, or in hours that are not in Iceberg yet."""
        wanted = added.select(IDENTITY)
        table = self._load(_SILVER)
        only = EqualTo("exchange", self.part.key)  # type: ignore[call-arg, arg-type]
        found = [wanted.clear()]
        scan = table.scan(row_filter=only, selected_fields=tuple(IDENTITY))
        arrow = ArrowScan(table.metadata, table.io, scan.projection(), only)
        for task in scan.plan_files():
            for batch in arrow.to_record_batches([task]):
                frame = pl.DataFrame(pa.Table.from_batches([batch])).cast(wanted.schema)
                found.append(frame.join(wanted, on=IDENTITY, how="semi"))
        for piece in wanted.iter_slices(1000):
            ids = piece["trade_id"].to_list()
            rows = self.hot.rows(render("hot_identities.sql"), {"key": self.part.key, "ids": ids})
            found.append(pl.DataFrame(rows, schema=wanted.schema).join(wanted, on=IDENTITY, how="semi"))
        return pl.concat(found).unique()

    def _report(self, before: pl.DataFrame, redone: Redone) -> DayReport:
        changed = {
            cold.name.removeprefix("gold_ohlcv_"): candles_altered(
                candles(before, cold.bucket_seconds), candles(redone.rows, cold.bucket_seconds)
            )
            for cold in TABLES
            if cold.layer == "gold"
        }
        return DayReport(
            exchange=self.part.key,
            day=f"{instant(self.part.from_us):%Y-%m-%d}",
            rows=redone.rows.height,
            added=redone.added.height,
            removed=redone.removed.height,
            altered=redone.altered.height,
            unfounded=redone.unfounded,
            candles_altered=changed,
        )

    def _whole(self, table: Table, redone: Redone) -> Redone:
        rows = _read(table, self._predicate("timestamp"))
        return Redone(rows, redone.added, redone.removed, redone.altered, redone.unfounded)

    def _replace_silver(self, table: Table, before: pl.DataFrame, redone: Redone) -> Table:
        """One snapshot that replaces the files of the arrival hours in which a row changed."""
        whole = _read(table, self._predicate("timestamp"))
        rows = pl.concat([whole.join(before, on=IDENTITY, how="anti"), redone.rows])
        touched = pl.concat([redone.added, redone.removed, redone.altered])
        starts = _hours(touched) | _hours(before.join(redone.altered, on=IDENTITY, how="semi"))
        attempt = new_attempt()
        ledger = read_ledger(table.properties)
        records: dict[str, SliceRecord] = {}
        new: list[DataFile] = []
        old: list[DataFile] = []
        files = self._files(table)
        for start in sorted(starts):
            window = hour(start)
            in_window = pl.col("validated_at").is_between(instant(window.from_us), instant(window.to_us), closed="left")
            old += [file for file in files if file.file_path.startswith(f"{slice_folder(table, window)}/")]
            content = rows.filter(in_window)
            if content.height:
                new.append(
                    _write(table, _SILVER, content, f"{slice_folder(table, window)}/{attempt}-{self.part.key}.parquet")
                )
            change = content.height - whole.filter(in_window).height
            known = ledger.get(window.id) or SliceRecord(
                attempt=attempt, rows=0, measure=0, until_us=window.to_us, final=True
            )
            records[window.id] = known.model_copy(
                update={"rows": known.rows + change, "measure": max(0, known.measure + change)}
            )
        summary = {
            SUMMARY_ATTEMPT: attempt,
            SUMMARY_SLICES: ",".join(sorted(records)),
            "medallion.rederived": self.part.id,
        }
        try:
            with table.transaction() as transaction:
                transaction.set_properties(ledger_properties(records))
                with transaction.update_snapshot(snapshot_properties=summary).overwrite() as snapshot:
                    snapshot.delete_by_predicate(self._predicate("timestamp"))
                    for file in old:
                        snapshot.delete_data_file(file)
                    for file in new:
                        snapshot.append_data_file(file)
        except (ValidationException, CommitFailedException) as error:
            for file in new:
                table.io.delete(file.file_path)
            raise CommitConflictError(f"An offload changed {self.part.id} meanwhile: {error}. Run again.") from error
        return self._load(_SILVER)

    def _replace_gold(
        self, cold: ColdTable, silver: pl.DataFrame, earlier: dict[str, int], windows: dict[str, SliceRecord]
    ) -> None:
        """The candles of the day in their slice, if any of them differs.

        `windows` is Silver's ledger, `earlier` its measures before: what Gold had followed then, it has followed now.
        A measure that fell lowers Gold's, or rows that come late would not be noticed.
        """
        table = self._load(cold)
        followed = read_silver_windows(table.properties)
        moved = {
            name: record.measure
            for name, record in windows.items()
            if name in followed
            and followed[name] != record.measure
            and (followed[name] == earlier.get(name) or followed[name] > record.measure)
        }
        fresh = {name: record.measure for name, record in windows.items() if earlier and name not in earlier}
        more = silver_properties({**moved, **fresh}.items())
        (part,) = gold_slices(cold, [(self.part.key, self.part.from_us)])
        known = read_ledger(table.properties).get(part.id)
        found = _read(table, part.predicate(cold))
        in_day = pl.col("window_start").is_between(instant(self.part.from_us), instant(self.part.to_us), closed="left")
        made = candles(silver, cold.bucket_seconds).cast(found.schema).select(found.columns)
        if not candles_altered(found.filter(in_day), made):
            if more:
                replace_slices(table, cold, new_attempt(), [], more)
            return
        rows = pl.concat([found.filter(~in_day), made]).sort("symbol", "window_start")
        attempt = new_attempt()
        files: tuple[DataFile, ...] = ()
        if rows.height:
            files = (_write(table, cold, rows, f"{slice_folder(table, part)}/{attempt}-00000.parquet"),)
        trades = int(rows["trade_count"].sum())
        until_us, final = (known.until_us, known.final) if known else (part.to_us, True)
        record = SliceRecord(attempt=attempt, rows=rows.height, measure=trades, until_us=until_us, final=final)
        replace_slices(table, cold, attempt, [Replacement(Export(part, files), record)], more)


def _hours(rows: pl.DataFrame) -> set[int]:
    return {moment // HOUR_US * HOUR_US for moment in rows["validated_at"].dt.epoch("us").to_list()}


def _read(table: Table, wanted: BooleanExpression, columns: list[str] | None = None) -> pl.DataFrame:
    """Matching rows of the current snapshot, file by file."""
    scan = table.scan(row_filter=wanted, selected_fields=tuple(columns or ["*"]))
    arrow = ArrowScan(table.metadata, table.io, scan.projection(), wanted)
    schema = scan.projection().as_arrow()
    batches = [batch for task in scan.plan_files() for batch in arrow.to_record_batches([task])]
    frame = pl.DataFrame(pa.Table.from_batches(batches).cast(schema) if batches else schema.empty_table())
    return frame.select(columns or frame.columns)


def _write(table: Table, cold: ColdTable, rows: pl.DataFrame, path: str) -> DataFile:
    """One Parquet file in the table's types and order."""
    schema = pa.schema([pa.field(f.name, _narrow(f.type), nullable=f.nullable) for f in table.schema().as_arrow()])
    ordered = rows.sort(*cold.sort).to_arrow().select(schema.names).cast(schema)
    with table.io.new_output(path).create() as output, pq.ParquetWriter(output, schema, compression="zstd") as writer:
        writer.write_table(ordered, row_group_size=250_000)
    return parquet_file_to_data_file(table.io, table.metadata, path)


def _narrow(kind: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_large_string(kind) else pa.binary() if pa.types.is_large_binary(kind) else kind
