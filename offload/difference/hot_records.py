"""Reads the dead letters, duplicates and accepted versions of one exchange and day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
from pyiceberg.expressions import And, EqualTo

from offload.clickhouse.client import HotStore, Parameters
from offload.clickhouse.templates import render
from offload.difference.day import RederivedDay
from offload.difference.id_checksums import IdChecksums
from offload.difference.spill import Spill
from offload.files.scans import parquet_rows, read_rows
from offload.tables.cold_tables import BY_NAME
from offload.tables.slices import Slice
from schemas.coordinates import COORDINATES

DUPLICATES = BY_NAME["duplicate_trades"]


class KafkaTimes:
    """Earliest and latest Kafka time (`published_at`) of the rows added."""

    def __init__(self) -> None:
        self.from_us, self.to_us = 1 << 62, -1

    def add_rows(self, rows: pl.DataFrame) -> None:
        """Add the times of these rows."""
        if rows.height:
            times = rows.select(first=pl.col("published_at").min(), last=pl.col("published_at").max())
            first, last = (int(times[name].dt.epoch("us")[0]) for name in times.columns)
            self.from_us, self.to_us = min(self.from_us, first), max(self.to_us, last)

    def add(self, other: KafkaTimes) -> None:
        """Add the times of another."""
        self.from_us, self.to_us = min(self.from_us, other.from_us), max(self.to_us, other.to_us)


@dataclass(frozen=True)
class HotRecords:
    """Local Parquet files: `dead_letters`, counted `duplicates` of a span of Kafka time, and all `corrections`.

    The duplicates are those of ClickHouse and those of Iceberg, since a re-derivation that was killed may have removed
    some from ClickHouse only.
    """

    dead_letters: tuple[Path]
    duplicates: tuple[Path, Path]
    corrections: tuple[Path]

    @classmethod
    def fetch(cls, day: RederivedDay, published: KafkaTimes, folder: Path) -> HotRecords:
        """Read the records into files of `folder`, which is created.

        Raises:
            HotStoreError: ClickHouse failed.
        """
        folder.mkdir(parents=True)
        span: dict[str, str | int] = {
            "key": day.part.key,
            "from_us": max(0, published.from_us),
            "to_us": published.to_us,
        }
        return cls(
            (_fetch(day.hot, render("known_dead_letters.sql"), span, folder / "dead_letters.parquet"),),
            (
                _fetch(day.hot, render("known_duplicates.sql"), span, folder / "duplicates.parquet"),
                _cold_duplicates(day, published, folder / "cold-duplicates.parquet"),
            ),
            (_fetch(day.hot, render("known_corrections.sql"), span, folder / "corrections.parquet"),),
        )

    def mark_suspects(self, checksums: IdChecksums) -> None:
        """Mark the trade ids of open dead letters, of corrections, and of duplicates that may be rows of Silver."""
        for dead_letters in parquet_rows(self.dead_letters):
            checksums.mark_suspect(dead_letters.filter(~pl.col("is_resolved"))["trade_id"])
        for duplicates in parquet_rows(self.duplicates):
            checksums.mark_suspect(duplicates.filter(checksums.may_be_in_silver(duplicates))["trade_id"])
        for corrections in parquet_rows(self.corrections):
            checksums.mark_suspect(corrections["trade_id"])


def spill_suspects(paths: Sequence[Path], checksums: IdChecksums, folder: Path, buckets: int) -> Spill:
    """The rows of local files whose trade ids are suspect, by bucket."""
    spill = Spill(folder, buckets)
    for piece in parquet_rows(paths):
        spill.add(checksums.suspects(piece))
    return spill


def _fetch(hot: HotStore, sql: str, parameters: Parameters, path: Path) -> Path:
    with hot.parquet(sql, parameters) as chunks, path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
    return path


def _cold_duplicates(day: RederivedDay, published: KafkaTimes, path: Path) -> Path:
    """The same columns as `known_duplicates.sql`, from Iceberg."""
    table = day.load(DUPLICATES)
    names = [*COORDINATES, "symbol", "trade_id", "timestamp"]
    span = Slice(max(0, published.from_us), published.to_us + 1).between("published_at")
    wanted = And(span, EqualTo("exchange", day.part.key))  # type: ignore[call-arg, arg-type]
    pieces = (piece.to_arrow(compat_level=pl.CompatLevel.oldest()) for piece in read_rows(table, wanted, names))
    with pq.ParquetWriter(path, next(pieces).schema) as file:
        for piece in pieces:
            file.write_table(piece)
    return path
