"""One exchange and day of a re-derivation. Its cold rows are read piece by piece, two pieces at a time.

polars and Arrow release Python's lock while they compute, and polars has its own thread for each core. So two threads
keep the cores busy: one waits for its file while the other computes. Each piece is in memory several times, so more
threads would exceed the memory of a re-derivation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import polars as pl
import pyarrow as pa
from pyiceberg.expressions import And, BooleanExpression, EqualTo
from pyiceberg.table import FileScanTask, Table

from offload.clickhouse.client import HotStore
from offload.clickhouse.tiers import Tiers
from offload.files.scans import RowGroup, parquet_rows, read_row_group, row_groups
from offload.tables.cold_tables import BY_NAME, ColdTable
from offload.tables.slices import HOUR_US, Slice, instant
from schemas.records import BRONZE
from silver_processor.core.rules import Rules

SILVER, BRONZE_TABLE = BY_NAME["silver_trades"], BY_NAME["bronze_trades"]
# Bronze's columns with the types of the cold table; `schemas.records.BRONZE` has other integers and times in ms.
COLD_BRONZE = pl.DataFrame(BRONZE_TABLE.schema.as_arrow().empty_table()).select(BRONZE.names).schema
_ARRIVED = pl.col("ingested_at").dt.epoch("us") // HOUR_US * HOUR_US
_THREADS = 2
# Rows of one part of a file, read piece by piece.
SilverPart = Callable[[], Iterator[pl.DataFrame]]
BronzePart = Callable[[], Iterator[pa.Table]]
Result = TypeVar("Result")


@dataclass(frozen=True)
class RederivedDay:
    """An exchange (`part.key`) and UTC day of event time. `symbol` (canonical) limits it to one symbol; "": all.

    `rederived_hours`: for a dry run, Bronze rows that replace those of Iceberg, as Parquet files by arrival hour
    (start, µs).
    """

    tiers: Tiers
    rules: Rules
    part: Slice
    symbol: str = ""
    rederived_hours: Mapping[int, Sequence[Path]] = field(default_factory=dict)

    @property
    def hot(self) -> HotStore:
        """ClickHouse."""
        return self.tiers.hot

    def load(self, cold: ColdTable) -> Table:
        """The cold table as it is now."""
        return self.tiers.cold.load(cold)

    def rows_of_day(self) -> BooleanExpression:
        """The exchange's rows of the day, by event time."""
        span = Slice(self.part.from_us, self.part.to_us).between("timestamp")
        # pyiceberg accepts plain names and values here, although its annotations do not.
        return And(span, EqualTo("exchange", self.part.key))  # type: ignore[call-arg, arg-type]

    def silver_tasks(self, table: Table) -> list[FileScanTask]:
        """The live files of cold Silver for this exchange and day, which are one partition."""
        tasks: list[FileScanTask] = list(table.scan(row_filter=self.rows_of_day()).plan_files())
        return sorted(tasks, key=lambda task: task.file.file_path)

    def silver_parts(self, table: Table, tasks: Sequence[FileScanTask], columns: Sequence[str]) -> list[SilverPart]:
        """The rows of these files, of all symbols, with `file` (index in `tasks`) and `row` (number in the file)."""
        return [
            partial(self._silver_part, table, group, number, columns)
            for number, task in enumerate(tasks)
            for group in row_groups(table, [task])
        ]

    def bronze_parts(self, table: Table) -> list[BronzePart]:
        """The day's Bronze rows of the symbols that are compared (schema `schemas.records.BRONZE`)."""
        wanted = self.rows_of_day()
        tasks = table.scan(row_filter=wanted).plan_files()
        parts: list[BronzePart] = [
            partial(self._bronze_part, table, group) for group in row_groups(table, tasks, wanted)
        ]
        return [
            *parts,
            *(partial(self._rederived_part, path) for paths in self.rederived_hours.values() for path in paths),
        ]

    def compared(self, silver: pl.DataFrame) -> pl.DataFrame:
        """The rows of Silver that are compared: those of `symbol`, since only Bronze rows of that symbol are read.

        So are rows of its exchange symbols under another name, which is the market's name of before.
        """
        if not self.symbol:
            return silver
        was_renamed = pl.col("exchange_symbol").is_in(self._exchange_symbols())
        return silver.filter((pl.col("symbol") == self.symbol) | was_renamed)

    def _silver_part(
        self, table: Table, group: RowGroup, number: int, columns: Sequence[str]
    ) -> Iterator[pl.DataFrame]:
        start = group.first_row
        for content in read_row_group(table, group, columns):
            yield pl.DataFrame(content).with_columns(
                pl.lit(number, pl.Int32).alias("file"), pl.int_range(start, start + content.num_rows).alias("row")
            )
            start += content.num_rows

    def _bronze_part(self, table: Table, group: RowGroup) -> Iterator[pa.Table]:
        for content in read_row_group(table, group, BRONZE.names, self.rows_of_day()):
            yield self._chosen(content, ~_ARRIVED.is_in(list(self.rederived_hours)) if self.rederived_hours else None)

    def _rederived_part(self, path: Path) -> Iterator[pa.Table]:
        span = pl.col("timestamp").is_between(instant(self.part.from_us), instant(self.part.to_us), closed="left")
        for piece in parquet_rows([path]):
            rows = piece.select(BRONZE.names).cast(COLD_BRONZE)
            yield self._chosen(rows.to_arrow(), span & (pl.col("exchange") == self.part.key))

    def _chosen(self, bronze: pa.Table, wanted: pl.Expr | None) -> pa.Table:
        """The rows that match `wanted` and whose symbol is compared."""
        conditions = [] if wanted is None else [wanted]
        if self.symbol:
            conditions.append(pl.col("symbol").is_in(self._exchange_symbols()))
        rows = pl.DataFrame(bronze).filter(*conditions).to_arrow() if conditions else bronze
        return rows.cast(BRONZE)

    def _exchange_symbols(self) -> list[str]:
        """The exchange's spellings of `symbol`."""
        is_market = (pl.col("exchange") == self.part.key) & (pl.col("canonical") == self.symbol)
        return self.rules.markets.filter(is_market)["exchange_symbol"].to_list()


def no_silver(table: Table) -> pl.DataFrame:
    """No rows, with the columns of `RederivedDay.silver_parts`."""
    empty = pl.DataFrame(table.schema().as_arrow().empty_table())
    return empty.with_columns(pl.lit(0, pl.Int32).alias("file"), pl.lit(0, pl.Int64).alias("row"))


def in_parallel(reads: Iterable[Callable[[], Result]]) -> Iterator[Result]:
    """Run all `reads`, two at a time, and yield their results in order.

    After an error the remaining reads are cancelled, and the error is raised when the reads under way have ended.
    """
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="rederive")
    try:
        for read in [pool.submit(read) for read in reads]:
            yield read.result()
    finally:
        pool.shutdown(cancel_futures=True)
