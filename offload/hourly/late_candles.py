"""Late candles: candles to which a trade comes after their hot partition was dropped.

The trade creates the hot partition again, with candles that lack all earlier trades. Such candles must not replace
those in Iceberg. Instead, the candles of their days are computed from all trades in cold Silver. Hot candles are
complete if they have as many trades as cold Silver and the hours that are not offloaded yet have together.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import And, BooleanExpression, EqualTo
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from config.valid_times import EARLIEST_US, END_US
from offload.clickhouse.checksums import Checksums, checksums_of, cold_sources
from offload.clickhouse.client import HotStore, Parameters
from offload.clickhouse.server import arrival_hours
from offload.clickhouse.templates import render
from offload.files.export import select_of
from offload.files.paths import file_paths
from offload.tables.cold_table import LONG, TEXT
from offload.tables.cold_tables import BY_NAME, ColdTable
from offload.tables.slice_records import read_ledger
from offload.tables.slices import DAY_US, SECOND_US, Slice, hour
from schemas.kinds import COUNTED

_SILVER = BY_NAME["silver_trades"]
CountedTrades = dict[tuple[str, Slice], int]


@dataclass(frozen=True)
class ColdSilver:
    """Cold Silver, and the hot arrival hours (starts, µs) that it does not have, or not completely.

    `counted`: earlier results of `count_trades`, by the table's metadata file and the slice (exchange and period).
    """

    table: Table
    incomplete_hours: frozenset[int]
    counted: CountedTrades

    @classmethod
    def read(cls, hot: HotStore, table: Table, counted: CountedTrades | None = None) -> ColdSilver:
        """Read the hot arrival hours. Load `table` and count the candles that are compared with it before the call.

        `counted`: keeps results between calls, for a caller that counts the same periods several times.
        """
        ledger = read_ledger(table.properties)
        hot_rows = arrival_hours(hot, [_SILVER], EARLIEST_US, END_US)[_SILVER.hot]
        records = {start: ledger.get(hour(start).id) for start in hot_rows}
        incomplete_hours = (
            start for start, rows in hot_rows.items() if (record := records[start]) is None or rows > record.measure
        )
        return cls(table, frozenset(incomplete_hours), {} if counted is None else counted)

    def count_trades(self, hot: HotStore, part: Slice) -> int:
        """Trades of an exchange and period in cold Silver, as candles count them.

        Raises:
            HotStoreError: ClickHouse failed, or cannot read the warehouse.
        """
        key = self.table.metadata_location, part
        if key not in self.counted:
            self.counted[key] = self._count_trades(hot, part)
        return self.counted[key]

    def _count_trades(self, hot: HotStore, part: Slice) -> int:
        # A file of Silver has one exchange and day. In most files each row counts as one trade, so only the others are
        # read.
        files = [task.file for task in self.table.scan(row_filter=_trades_of(part)).plan_files()]
        mixed = [file.file_path for file in files if not self._one_trade_a_row(file)]
        trades: int = sum(file.record_count for file in files if self._one_trade_a_row(file))
        for source in cold_sources(hot, self.table, mixed, select_of(_SILVER, partition=False), _span(part)):
            trades += int(hot.rows(render("count_cold_trades.sql", source=source), _span(part))[0]["trades"])
        return trades

    def _one_trade_a_row(self, file: DataFile) -> bool:
        """Whether each row is one counted trade, by the file's statistics. In files without the columns it is."""
        schema = self.table.schema()
        kind, matches = (schema.find_field(name).field_id for name in ("trade_kind", "match_count"))
        if file.value_counts and not {kind, matches} & file.value_counts.keys():
            return True
        low, high, most = file.lower_bounds.get(kind), file.upper_bounds.get(kind), file.upper_bounds.get(matches)
        if low is None or high is None or most is None:
            return False
        return low == high and from_bytes(TEXT, low) in COUNTED and int(from_bytes(LONG, most)) == 1

    def missing_trades(self, hot: HotStore, part: Slice) -> int:
        """Upper bound on the hot trades of an exchange and period that cold Silver lacks, as candles count them."""
        if not self.incomplete_hours:
            return 0
        hours = [start // SECOND_US for start in sorted(self.incomplete_hours)]
        return int(hot.rows(render("silver_missing.sql", hours=hours), _span(part))[0]["trades"])


def select_rebuilt(
    hot: HotStore, silver: ColdSilver, table: Table, cold: ColdTable, part: Slice, days: Collection[int]
) -> tuple[str, Parameters]:
    """SQL, with parameters, of all candles of a Gold slice; those of `days` (since the epoch) come from cold Silver.

    Raises:
        HotStoreError: ClickHouse failed.
        WarehouseError: ClickHouse cannot read the warehouse.
    """
    kept = _candles_of_days(hot, table, cold, part, days, others=True)
    return render("candles_rebuilt.sql", parts=[*kept, *_from_silver(hot, silver, cold, part, days)]), _span(part)


def are_late_and_confirmed(
    hot: HotStore, silver: ColdSilver, table: Table, cold: ColdTable, part: Slice, source: str, trades: int
) -> bool:
    """Whether all candles of `source` (a hot table or view with `trades` trades) are late and correct in Iceberg.

    That is so if they lack trades that cold Silver has, every hot trade is offloaded, and the cold candles of their
    days are equal to the candles of cold Silver's trades.

    Raises:
        HotStoreError: ClickHouse failed, or cannot read the warehouse.
    """
    if trades >= silver.count_trades(hot, part) or silver.missing_trades(hot, part):
        return False
    days = [int(row["day"]) for row in hot.rows(render("candle_days.sql", hot=source), _span(part))]
    in_iceberg = _sums(hot, cold, part, _candles_of_days(hot, table, cold, part, days, others=False))
    return bool(days) and in_iceberg == _sums(hot, cold, part, _from_silver(hot, silver, cold, part, days))


def _sums(hot: HotStore, cold: ColdTable, part: Slice, sources: list[str]) -> Checksums:
    return checksums_of(hot, cold, "\nUNION ALL\n".join(sources), _span(part)) if sources else {}


def _from_silver(hot: HotStore, silver: ColdSilver, cold: ColdTable, part: Slice, days: Collection[int]) -> list[str]:
    paths = [
        path
        for day in sorted(days)
        for path in file_paths(silver.table, _trades_of(Slice(day * DAY_US, (day + 1) * DAY_US, part.key)))
    ]
    sources = cold_sources(hot, silver.table, paths, select_of(_SILVER, partition=False), _span(part))
    if not sources:
        return []
    names = {"source": "\nUNION ALL\n".join(sources), "bucket_seconds": cold.bucket_seconds}
    return [render("candles_from_silver.sql", **names, days=sorted(days))]


def _candles_of_days(
    hot: HotStore, table: Table, cold: ColdTable, part: Slice, days: Collection[int], *, others: bool
) -> list[str]:
    paths = file_paths(table, part.predicate(cold))
    sources = cold_sources(hot, table, paths, select_of(cold, partition=False), _span(part))
    if not sources or not days:
        return []
    names = {"source": "\nUNION ALL\n".join(sources), "days": sorted(days)}
    return [render("cold_candles.sql", **names, others=others)]


def _trades_of(part: Slice) -> BooleanExpression:
    # pyiceberg accepts plain names and values here, although its annotations do not.
    return And(part.between("timestamp"), EqualTo("exchange", part.key))  # type: ignore[call-arg, arg-type]


def _span(part: Slice) -> dict[str, str | int]:
    return {"key": part.key, "from_us": part.from_us, "to_us": part.to_us, "until_us": END_US}
