"""What ClickHouse knows of the messages of one exchange and day: letters, counted duplicates, accepted versions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from offload.clickhouse.client import HotStore, Parameters
from offload.clickhouse.templates import render
from offload.difference.checksums import IdChecksums
from offload.difference.day import RederivedDay
from offload.difference.spill import Spill
from offload.files.scans import parquet_rows


class KafkaTimes:
    """The Kafka times (`published_at`) of the messages met."""

    def __init__(self) -> None:
        self.from_us, self.to_us = 1 << 62, -1

    def add_rows(self, rows: pl.DataFrame) -> None:
        """Take in the times of these rows."""
        if rows.height:
            times = rows.select(first=pl.col("published_at").min(), last=pl.col("published_at").max())
            first, last = (int(times[name].dt.epoch("us")[0]) for name in times.columns)
            self.from_us, self.to_us = min(self.from_us, first), max(self.to_us, last)

    def add(self, other: KafkaTimes) -> None:
        """Take in the times of another."""
        self.from_us, self.to_us = min(self.from_us, other.from_us), max(self.to_us, other.to_us)


@dataclass(frozen=True)
class HotRecords:
    """Local Parquet files: `letters` and `duplicates` of messages of a span of Kafka time, `corrections` of all times."""

    letters: Path
    duplicates: Path
    corrections: Path

    @classmethod
    def fetch(cls, day: RederivedDay, published: KafkaTimes, folder: Path) -> HotRecords:
        """Ask ClickHouse; the files are in `folder`, which is made.

        Raises:
            HotStoreError: ClickHouse failed.
        """
        folder.mkdir(parents=True)
        span: dict[str, str | int] = {"key": day.part.key, "from_us": max(0, published.from_us)}
        asked = span | {"to_us": published.to_us}
        return cls(
            _fetch(day.hot, render("known_letters.sql"), asked, folder / "letters.parquet"),
            _fetch(day.hot, render("known_duplicates.sql"), asked, folder / "counted.parquet"),
            _fetch(day.hot, render("known_corrections.sql"), asked, folder / "corrections.parquet"),
        )

    def mark_suspects(self, checksums: IdChecksums) -> None:
        """Let all be judged that open letters or corrections speak of, and rows whose message is a duplicate, too."""
        for letters in parquet_rows([self.letters]):
            checksums.mark_suspects(letters.filter(~pl.col("is_resolved"))["trade_id"])
        for duplicates in parquet_rows([self.duplicates]):
            checksums.mark_suspects(duplicates.filter(checksums.may_be_in_silver(duplicates))["trade_id"])
        for corrections in parquet_rows([self.corrections]):
            checksums.mark_suspects(corrections["trade_id"])


def spill_suspects(path: Path, checksums: IdChecksums, folder: Path, buckets: int) -> Spill:
    """Of the rows of a local file those in doubt, by bucket."""
    spill = Spill(folder, buckets)
    for piece in parquet_rows([path]):
        spill.add(checksums.suspects(piece))
    return spill


def _fetch(hot: HotStore, sql: str, parameters: Parameters, path: Path) -> Path:
    with hot.parquet(sql, parameters) as chunks, path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
    return path
