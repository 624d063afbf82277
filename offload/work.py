"""One exchange and day of a re-derivation: what it works with, and how its cold rows are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import And, BooleanExpression, EqualTo
from pyiceberg.manifest import DataFile
from pyiceberg.table import FileScanTask, Table

from offload.cold_rows import parquet_rows, read_rows
from offload.hot import HotStore
from offload.slices import HOUR_US, Slice, instant
from offload.tables import BY_NAME, ColdTable
from schemas.records import BRONZE
from silver_processor.core.rules import Rules

SILVER, BRONZE_TABLE = BY_NAME["silver_trades"], BY_NAME["bronze_trades"]


@dataclass(frozen=True)
class Work:
    """An exchange (`part.key`) and UTC day of event time; `symbol` (canonical) or all.

    `redrawn`: Bronze rows that stand for those of Iceberg, as Parquet files by arrival hour (start, µs).
    """

    catalog: Catalog
    namespace: str
    hot: HotStore
    rules: Rules
    part: Slice
    symbol: str = ""
    redrawn: Mapping[int, Sequence[Path]] = field(default_factory=dict)

    def load(self, cold: ColdTable) -> Table:
        """The cold table as it is now."""
        return self.catalog.load_table(f"{self.namespace}.{cold.name}")

    def rows_of_day(self) -> BooleanExpression:
        """The exchange's rows of the day, by event time."""
        span = Slice(self.part.from_us, self.part.to_us).between("timestamp")
        # pyiceberg accepts plain names and values here, which its annotations do not say.
        return And(span, EqualTo("exchange", self.part.key))  # type: ignore[call-arg, arg-type]

    def silver_tasks(self, table: Table) -> list[FileScanTask]:
        """The live files of cold Silver: each holds rows of this exchange and day only, its partition."""
        found: list[FileScanTask] = list(table.scan(row_filter=self.rows_of_day()).plan_files())
        return sorted(found, key=lambda task: task.file.file_path)

    def silver_files(self, table: Table) -> list[DataFile]:
        """The same as data files."""
        return [task.file for task in self.silver_tasks(table)]

    def bronze_size(self, table: Table) -> int:
        """At most so many rows has `bronze_rows`."""
        files = [path for paths in self.redrawn.values() for path in paths]
        cold: int = sum(task.file.record_count for task in table.scan(row_filter=self.rows_of_day()).plan_files())
        drawn: int = sum(pq.ParquetFile(path).metadata.num_rows for path in files)
        return cold + drawn

    def bronze_rows(self, table: Table) -> Iterator[pl.DataFrame]:
        """The day's Bronze rows, columns `schemas.records.BRONZE`, piece by piece."""
        arrived = pl.col("ingested_at").dt.epoch("us") // HOUR_US * HOUR_US
        for piece in read_rows(table, self.rows_of_day(), BRONZE.names):
            yield piece.filter(~arrived.is_in(list(self.redrawn))) if self.redrawn else piece
            like = piece.schema
        span = pl.col("timestamp").is_between(instant(self.part.from_us), instant(self.part.to_us), closed="left")
        for paths in self.redrawn.values():
            for piece in parquet_rows(paths):
                rows = piece.select(BRONZE.names).cast(like)
                yield rows.filter(span & (pl.col("exchange") == self.part.key))

    def exchange_symbols(self) -> list[str]:
        """How the exchange spells `symbol`."""
        ours = (pl.col("exchange") == self.part.key) & (pl.col("canonical") == self.symbol)
        return self.rules.markets.filter(ours)["exchange_symbol"].to_list()
