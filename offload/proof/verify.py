"""Compares hot and cold: row counts and checksums of every offloaded slice, both computed by ClickHouse.

The hot side is the SELECT of the export. The cold side reads the files of the table's current snapshot with the types
of the hot side. ClickHouse's own Iceberg reader is not used: it reads the newest metadata file, even an uncommitted
one.

Where the hot rows have left nothing is there to compare. So each file must also be as large as it was when it was
committed: a file that was written anew or cut off is found.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict, computed_field
from pyiceberg.table import Table

from config.valid_times import END_US
from offload.clickhouse.checksums import MODULUS, Checksums, checksums_of, cold_sources, merge_key
from offload.clickhouse.client import HotStore, Parameters
from offload.clickhouse.server import arrival_hours
from offload.clickhouse.templates import render
from offload.clickhouse.tiers import Tiers
from offload.errors import WarehouseError
from offload.files.damage import DamagedFile, damaged_files
from offload.files.export import select_of
from offload.files.paths import file_paths
from offload.hourly.late_candles import ColdSilver, CountedTrades, are_late_and_confirmed
from offload.proof.not_compared import ComparisonGaps, NotCompared
from offload.report import OnTable
from offload.tables.cold_tables import BY_NAME, LAYERS, TABLES, ColdTable, Layer
from offload.tables.slice_records import read_ledger, read_left
from offload.tables.slices import Slice, instant, micros, parse_gold_id, parse_hour_id

_SILVER = BY_NAME["silver_trades"]


class SliceDifference(BaseModel):
    """A difference between hot and cold in one slice and market. If the counts are equal, a value differs.

    `exchange` and `symbol` are "" if the rows have no market.
    """

    model_config = ConfigDict(frozen=True)

    table: str
    slice: str
    exchange: str
    symbol: str
    hot_rows: int
    cold_rows: int


class CandleExcess(BaseModel):
    """A Gold slice whose hot candles count more trades than Silver has of its exchange and period, hot and cold."""

    model_config = ConfigDict(frozen=True)

    slice: str
    candle_trades: int
    silver_trades: int


class TableVerification(BaseModel):
    """One cold table against its hot table: `hot_rows` and `cold_rows` of the `slices` that were compared.

    `open_slices`: how many of these were open when they were offloaded and have not grown since. `superseded`: cold
    rows that a merge has moved to another hour, so none is lost. `only_cold`: rows of partitions that the gate compared
    and dropped. `not_compared`: hot rows that were left out. `damaged`: files that are not as they were committed.
    `excess`: candles that count more trades than there are; such candles do not pass for ones that have grown.
    """

    model_config = ConfigDict(frozen=True)

    table: str
    slices: int
    open_slices: int
    hot_rows: int
    cold_rows: int
    superseded: int
    only_cold: int
    differences: tuple[SliceDifference, ...]
    not_compared: tuple[NotCompared, ...]
    damaged: tuple[DamagedFile, ...] = ()
    excess: tuple[CandleExcess, ...] = ()


class VerifyReport(BaseModel):
    """All tables. `ok`: no compared slice differs, no file is damaged, and no candle counts a trade that Silver lacks.
    `complete`: every hot row was compared.
    """

    model_config = ConfigDict(frozen=True)

    tables: tuple[TableVerification, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ok(self) -> bool:
        """Whether nothing is wrong in what was compared."""
        return not any(table.differences or table.damaged or table.excess for table in self.tables)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def complete(self) -> bool:
        """Whether no hot row was left out."""
        return not any(table.not_compared for table in self.tables)


def verify(
    tiers: Tiers,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    include_open: bool = False,
    layers: Collection[Layer] = LAYERS,
    progress: OnTable = lambda *_: None,
) -> VerifyReport:
    """Compare every offloaded slice that overlaps [start, end) (aware times; default: all) in both tiers.

    A slice that has grown since it was offloaded (it was open, or its candles got late trades) is reported as not
    compared; with `include_open` it is a difference.

    Raises:
        HotStoreError: ClickHouse failed, or cannot read the warehouse.
        WarehouseError: ClickHouse cannot read this kind of warehouse, or the warehouse does not answer.
        ValueError: a time without a zone.
    """
    tables = tiers.cold.load_all()
    from_us = micros(start) if start else 0
    to_us = micros(end) if end else MODULUS
    chosen = [cold for cold in TABLES if cold.layer in layers]
    # Gold is compared with the arrival hours of Silver.
    sliced = [cold for cold in TABLES if cold.arrival and (cold in chosen or cold is _SILVER)]
    hours = arrival_hours(tiers.hot, sliced, from_us, min(to_us, END_US))
    counted: CountedTrades = {}
    verified = []
    for number, cold in enumerate(chosen):
        table = tables[cold.name]

        def on_slice(name: str, number: int = number) -> None:
            progress(name, number, len(chosen))

        silver, left = tables["silver_trades"], read_left(table.properties)
        verifier = _Verifier(tiers.hot, table, silver, cold, left, on_slice, counted)
        hot_hours = hours.get(cold.hot, hours[_SILVER.hot])
        verified.append(verifier.verify(from_us, to_us, hot_hours, include_open=include_open))
    return VerifyReport(tables=tuple(verified))


@dataclass(frozen=True)
class _Verifier:
    hot: HotStore
    table: Table
    silver: Table
    cold: ColdTable
    left: frozenset[str]
    on_slice: Callable[[str], None]
    counted: CountedTrades

    def verify(
        self, from_us: int, to_us: int, hot_hours: Mapping[int, int], *, include_open: bool
    ) -> TableVerification:
        cold = self.cold
        parse = parse_gold_id if cold.layer == "gold" else lambda _, name: parse_hour_id(name)
        slices = [(parse(cold, name), record) for name, record in read_ledger(self.table.properties).items()]
        wanted = sorted(
            ((part, record) for part, record in slices if part.from_us < to_us and part.to_us > from_us),
            key=lambda pair: pair[0],
        )
        damaged = self._damaged(from_us, to_us)
        gaps = ComparisonGaps(self.hot, cold, self.table.properties)
        comparisons: list[_Comparison] = []
        left_out = list(gaps.not_offloaded(hot_hours))
        excess: list[CandleExcess] = []
        open_slices = 0
        for part, record in wanted:
            self.on_slice(f"{cold.name} {part.id}")
            excess += self._excess(part, gaps) if cold.layer == "gold" else []
            # A late trade may change the candles of any day. An hour of another layer is complete once it is over.
            may_grow = not include_open and (cold.layer == "gold" or not record.final)
            grown = gaps.grown(part, record) if may_grow and not record.final else None
            comparison = None if grown else self._compare(part, record.until_us)
            if comparison and comparison.differences and may_grow:
                # Rows may have come during the comparison.
                grown = gaps.grown(part, record)
            if grown:
                left_out.append(grown)
            elif comparison:
                comparisons.append(comparison)
                open_slices += not record.final
                candles = None if record.final else gaps.open_candles(part, record)
                left_out += [candles] if candles else []
        return TableVerification(
            table=cold.name,
            slices=len(comparisons),
            open_slices=open_slices,
            hot_rows=sum(comparison.hot_rows for comparison in comparisons),
            cold_rows=sum(comparison.cold_rows for comparison in comparisons),
            superseded=sum(comparison.superseded for comparison in comparisons),
            only_cold=sum(comparison.only_cold for comparison in comparisons),
            differences=tuple(difference for comparison in comparisons for difference in comparison.differences),
            not_compared=tuple(left_out),
            damaged=damaged,
            excess=tuple(excess),
        )

    def _excess(self, part: Slice, gaps: ComparisonGaps) -> list[CandleExcess]:
        # The candles are counted first: a trade that comes meanwhile is then in Silver only.
        in_candles = gaps.candle_trades(part)
        in_silver = ColdSilver(self.silver, frozenset(), self.counted).count_trades(self.hot, part)
        if in_candles > in_silver:
            in_silver += ColdSilver.read(self.hot, self.silver).missing_trades(self.hot, part)
        if in_candles <= in_silver:
            return []
        return [CandleExcess(slice=part.id, candle_trades=in_candles, silver_trades=in_silver)]

    def _damaged(self, from_us: int, to_us: int) -> tuple[DamagedFile, ...]:
        span = Slice(from_us, min(to_us, END_US))
        try:
            return tuple(damaged_files(self.table, span.between(self.cold.arrival or "window_start")))
        except OSError as error:
            raise WarehouseError(f"{self.cold.name}: the sizes of its files cannot be asked for: {error}") from error

    def _compare(self, part: Slice, until_us: int) -> _Comparison:
        cold = self.cold
        span: dict[str, str | int] = {
            "from_us": part.from_us,
            "to_us": part.to_us,
            "until_us": until_us,
            "key": part.key,
        }
        select = select_of(cold, partition=cold.layer == "gold")
        hot_sums = checksums_of(self.hot, cold, select, span)
        files = self._cold_source(part, select, span)
        cold_sums = checksums_of(self.hot, cold, files, span) if files else {}
        cold_rows, moved = _rows(cold_sums), Checksums()
        if hot_sums != cold_sums and cold.layer == "gold" and self._has_left(part, hot_sums):
            return _Comparison(_rows(hot_sums), cold_rows, 0, cold_rows - _rows(hot_sums), ())
        if hot_sums != cold_sums and cold.arrival and self.left:
            names = {"hot": cold.hot, "arrival": cold.arrival, "event": cold.hot_event, "period": cold.hot_period_sql}
            files = render("cold_without_left.sql", source=files, partitions=sorted(self.left), **names)
            cold_sums = checksums_of(self.hot, cold, files, span)
        if hot_sums != cold_sums and cold.merges and files:
            moved = checksums_of(self.hot, cold, _superseded(self.hot, cold, files), span)
        return _Comparison(
            _rows(hot_sums),
            cold_rows,
            _rows(moved),
            cold_rows - _rows(cold_sums),
            tuple(_differences(cold, part, hot_sums, cold_sums, moved)),
        )

    def _cold_source(self, part: Slice, select: str, span: Parameters) -> str:
        """SQL that reads the slice's live files; "" if there are none."""
        paths = file_paths(self.table, part.predicate(self.cold))
        source = "\nUNION ALL\n".join(cold_sources(self.hot, self.table, paths, select, span))
        # A merged file also has rows of other hours.
        return (
            render("cold_hour.sql", source=source, arrival=self.cold.arrival)
            if source and self.cold.arrival
            else source
        )

    def _has_left(self, part: Slice, hot_sums: Checksums) -> bool:
        """Whether the gate dropped the candles and any hot candles (`hot_sums`) are of later trades."""
        day = instant(part.from_us)
        if (f"{day:%Y%m%d}" if self.cold.period == "day" else f"{day:%Y%m}") not in self.left:
            return False
        if not hot_sums:
            return True
        sql = render("count_candles.sql", select=select_of(self.cold, partition=True))
        span: dict[str, str | int] = {"from_us": part.from_us, "to_us": part.to_us, "until_us": END_US}
        trades = int(self.hot.rows(sql, {**span, "key": part.key})[0]["trades"])
        silver = ColdSilver.read(self.hot, self.silver)
        return are_late_and_confirmed(self.hot, silver, self.table, self.cold, part, self.cold.hot, trades)


@dataclass(frozen=True)
class _Comparison:
    hot_rows: int
    cold_rows: int
    superseded: int
    only_cold: int
    differences: tuple[SliceDifference, ...]


def _rows(sums: Checksums) -> int:
    return sum(rows for rows, _ in sums.values())


def _differences(
    cold: ColdTable, part: Slice, hot_sums: Checksums, cold_sums: Checksums, moved: Checksums
) -> Iterator[SliceDifference]:
    for group in sorted(hot_sums.keys() | cold_sums.keys()):
        hot_sum, cold_sum, moved_sum = (sums.get(group, (0, 0)) for sums in (hot_sums, cold_sums, moved))
        if hot_sum != (cold_sum[0] - moved_sum[0], (cold_sum[1] - moved_sum[1]) % MODULUS):
            exchange, symbol = group
            yield SliceDifference(
                table=cold.name,
                slice=part.id,
                exchange=exchange,
                symbol=symbol,
                hot_rows=hot_sum[0],
                cold_rows=cold_sum[0],
            )


def _superseded(hot: HotStore, cold: ColdTable, files: str) -> str:
    names = {"hot": cold.hot, "arrival": cold.arrival, "source": files}
    return render("superseded.sql", **names, merge_key=merge_key(hot, cold))
