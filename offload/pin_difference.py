"""Compares two versions of the cold tables, row by row: trades of Silver, and candles.

Files that are in both versions are not read. The rows of the other files are compared in buckets on disk, so memory
does not grow with the versions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict
from pyiceberg.table import FileScanTask, Table

from offload.difference.silver_difference import IDENTITY, VALUES
from offload.difference.spill import Spill, bucket_count, ensure_disk_space
from offload.errors import OffloadError
from offload.files.scans import read_task
from offload.pins import NOW, Pins
from offload.proof.value_changes import CANDLE_NUMBERS
from offload.tables.catalog import ColdTier
from offload.tables.cold_tables import BY_NAME, GOLD, ColdTable

REMOVED, ADDED, CHANGED = "removed", "added", "changed"
_CANDLE = ["exchange", "symbol", "window_start"]


class OutputFolderError(OffloadError):
    """The folder for the differences cannot be used; the message says what to do."""


class TableDifference(BaseModel):
    """Numbers of rows of a table that differ between the version before and the version after.

    `removed`: rows only before; `added`: rows only after; `changed`: rows with other values. `compared`: rows of both
    versions that were read. All other rows are in files that both versions have.
    """

    model_config = ConfigDict(frozen=True)

    table: str
    removed: int
    added: int
    changed: int
    compared: int

    @property
    def rows(self) -> int:
        """The number of rows that differ."""
        return self.removed + self.added + self.changed


class VersionDifference(BaseModel):
    """Two versions of the cold tables: pins, or `now`."""

    model_config = ConfigDict(frozen=True)

    before: str
    after: str
    tables: tuple[TableDifference, ...]

    @property
    def is_equal(self) -> bool:
        """Whether no trade and no candle differs."""
        return not any(table.rows for table in self.tables)


@dataclass(frozen=True)
class Comparison:
    """How a table is compared. `key`: columns that identify a row; `values`: columns that are compared."""

    key: list[str]
    values: list[str]

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        return [*self.key, *self.values]

    @property
    def order(self) -> list[pl.Expr]:
        """The order in which differences are shown: by market and time."""
        time = [] if "window_start" in self.key else [pl.coalesce("timestamp_after", "timestamp_before")]
        return [pl.col("exchange"), pl.col("symbol"), *time, pl.col(self.key[-1])]


def comparison_of(cold: ColdTable) -> Comparison:
    """Of trades, the values that a backtest uses are compared, but not arrival and raw message."""
    return Comparison(IDENTITY, VALUES) if cold.layer == "silver" else Comparison(_CANDLE, list(CANDLE_NUMBERS))


def differing_rows(before: pl.DataFrame, after: pl.DataFrame, compared: Comparison) -> pl.DataFrame:
    """The rows that differ: `change`, the key, and each value as `…_before` and `…_after`; null if there is no row.

    `before`, `after`: frames with the columns of `compared`, each key once.
    """
    sides = [
        rows.select(*compared.key, *(pl.col(name).alias(f"{name}_{side}") for name in compared.values), there=pl.lit(1))
        for side, rows in (("before", before), ("after", after))
    ]
    both = sides[0].join(sides[1], on=compared.key, how="full", coalesce=True, suffix="_after")
    differs = pl.any_horizontal(
        pl.col(f"{name}_before").ne_missing(pl.col(f"{name}_after")) for name in compared.values
    )
    change = (
        pl.when(pl.col("there_after").is_null())
        .then(pl.lit(REMOVED))
        .when(pl.col("there").is_null())
        .then(pl.lit(ADDED))
        .otherwise(pl.lit(CHANGED))
    )
    return both.filter(pl.any_horizontal(differs, pl.col("there").is_null(), pl.col("there_after").is_null())).select(
        change.alias("change"),
        *compared.key,
        *(f"{name}_{side}" for name in compared.values for side in ("before", "after")),
    )


class PinDifference:
    """Compares two versions of the cold tables, each a pin's name or `now`.

    `now` is the present version in Iceberg. Rows that are not offloaded are in no version.

    Raises (every method):
        PinError: there is no such pin.
        OffloadError: the warehouse fails.
    """

    def __init__(self, tier: ColdTier) -> None:
        self._tier, self._pins = tier, Pins(tier)

    def compare(
        self, before: str, after: str, out: Path | None = None, show: int = 0
    ) -> tuple[VersionDifference, dict[str, pl.DataFrame]]:
        """Compare Silver and all candles; `out`: a new folder for a Parquet file of each table's differences.

        Returns the counts and, of each table, at most `show` rows (`differing_rows`) by market and time.

        Raises:
            OutputFolderError: `out` has files already or cannot be made.
            DiskSpaceError: the disk of temporary files cannot hold the rows of the largest table; nothing was written.
        """
        versions = [self._snapshots(name) for name in (before, after)]
        pairs = [
            _TablePair(cold, table, _differing_files(table, [version[cold.name] for version in versions]))
            for cold in (BY_NAME["silver_trades"], *GOLD)
            for table in [self._tier.load(cold)]
        ]
        # The temporary files of a table are removed before those of the next table are written.
        ensure_disk_space(Path(tempfile.gettempdir()), max(sum(pair.rows) for pair in pairs))
        if out is not None:
            # pyarrow takes a relative path with a colon for an address.
            out = out.absolute()
            _make_folder(out)
        tables, shown = [], {}
        with _all_or_nothing(out):
            for pair in pairs:
                difference, rows = _compare_table(pair, out, show)
                tables.append(difference)
                shown[pair.cold.name] = rows
        return VersionDifference(before=before, after=after, tables=tuple(tables)), shown

    def _snapshots(self, name: str) -> dict[str, int | None]:
        if name == NOW:
            return {cold: table.metadata.current_snapshot_id for cold, table in self._tier.load_all().items()}
        return {part.table: part.snapshot_id for part in self._pins.get(name).tables}


@dataclass(frozen=True)
class _TablePair:
    """Two versions of a table. `files`: of each version, those that the other version lacks."""

    cold: ColdTable
    table: Table
    files: tuple[Sequence[FileScanTask], Sequence[FileScanTask]]

    @property
    def rows(self) -> list[int]:
        """How many rows the files of each version have."""
        return [sum(task.file.record_count for task in side) for side in self.files]


def _differing_files(table: Table, snapshots: Sequence[int | None]) -> tuple[list[FileScanTask], list[FileScanTask]]:
    before, after = (_files(table, snapshot) for snapshot in snapshots)
    return (
        [task for path, task in sorted(before.items()) if path not in after],
        [task for path, task in sorted(after.items()) if path not in before],
    )


def _compare_table(pair: _TablePair, out: Path | None, show: int) -> tuple[TableDifference, pl.DataFrame]:
    compared = comparison_of(pair.cold)
    counts = {REMOVED: 0, ADDED: 0, CHANGED: 0}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="medallion-pin-diff-")))
        pieces = _buckets(pair, compared, folder, max(bucket_count(max(pair.rows)), 1))
        first = next(pieces)
        writer = None
        if out is not None:
            schema = first.to_arrow().schema
            writer = stack.enter_context(
                pq.ParquetWriter(out / f"{pair.cold.name}.parquet", schema, compression="zstd")
            )
        shown = first.clear()
        for piece in chain([first], pieces):
            for change, number in piece.group_by("change").len().iter_rows():
                counts[change] += number
            if writer is not None and piece.height:
                writer.write_table(piece.to_arrow())
            shown = pl.concat([shown, piece]).sort(compared.order).head(show)
    return TableDifference(table=pair.cold.name, compared=sum(pair.rows), **counts), shown


def _buckets(pair: _TablePair, compared: Comparison, folder: Path, buckets: int) -> Iterator[pl.DataFrame]:
    """The differing rows, bucket by bucket; at least one frame, which may be empty."""
    number = pl.concat_str([pl.col(name).cast(pl.String) for name in compared.key], separator="\n").hash(seed=0)
    spills = [Spill(folder / side, buckets, by=number % buckets) for side in ("before", "after")]
    empty = pl.DataFrame(pair.table.schema().as_arrow().empty_table()).select(compared.columns)
    for spill, tasks in zip(spills, pair.files, strict=True):
        spill.add(empty)
        for task in tasks:
            for piece in read_task(pair.table, task, compared.columns):
                spill.add(piece)
    for bucket in range(buckets):
        before, after = (spill.read(bucket) for spill in spills)
        yield differing_rows(before, after, compared)


def _files(table: Table, snapshot: int | None) -> dict[str, FileScanTask]:
    if snapshot is None:
        return {}
    return {task.file.file_path: task for task in table.scan(snapshot_id=snapshot).plan_files()}


@contextmanager
def _all_or_nothing(out: Path | None) -> Iterator[None]:
    """Remove what was written to the new folder if the rest cannot be, so that the command can be run again."""
    try:
        yield
    except BaseException:
        for file in out.iterdir() if out is not None else ():
            file.unlink()
        raise


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        used = next(out.iterdir(), None)
    except OSError as error:
        raise OutputFolderError(f"Cannot make the folder {out}: {error.strerror}. Choose another one.") from error
    if used is not None:
        raise OutputFolderError(f"{out} has {used.name} in it: name a new folder, so that nothing is overwritten.")
