"""What ClickHouse knows of the messages of one exchange and day: letters, counted duplicates, accepted versions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from offload.clickhouse.client import HotStore, Parameters
from offload.clickhouse.templates import render
from offload.difference.balance import Balance
from offload.difference.day import Work
from offload.difference.spill import Spill
from offload.files.scans import parquet_rows


class Span:
    """The Kafka times (`published_at`) of the messages met."""

    def __init__(self) -> None:
        self.from_us, self.to_us = 1 << 62, -1

    def widen(self, rows: pl.DataFrame) -> None:
        """Take in the times of these rows."""
        if rows.height:
            times = rows.select(first=pl.col("published_at").min(), last=pl.col("published_at").max())
            first, last = (int(times[name].dt.epoch("us")[0]) for name in times.columns)
            self.from_us, self.to_us = min(self.from_us, first), max(self.to_us, last)

    def join(self, other: Span) -> None:
        """Take in the times of another."""
        self.from_us, self.to_us = min(self.from_us, other.from_us), max(self.to_us, other.to_us)


@dataclass(frozen=True)
class Known:
    """Local Parquet files: `letters` and `counted` of messages of a span of Kafka time, `corrections` of all times."""

    letters: Path
    counted: Path
    corrections: Path

    @classmethod
    def fetch(cls, work: Work, published: Span, folder: Path) -> Known:
        """Ask ClickHouse; the files are in `folder`, which is made.

        Raises:
            HotStoreError: ClickHouse failed.
        """
        folder.mkdir(parents=True)
        span: dict[str, str | int] = {"key": work.part.key, "from_us": max(0, published.from_us)}
        asked = span | {"to_us": published.to_us}
        return cls(
            _fetch(work.hot, render("mail_letters.sql"), asked, folder / "letters.parquet"),
            _fetch(work.hot, render("mail_duplicates.sql"), asked, folder / "counted.parquet"),
            _fetch(work.hot, render("corrections_key.sql"), asked, folder / "corrections.parquet"),
        )

    def doubt(self, balance: Balance) -> None:
        """Let all be judged that open letters or corrections speak of, and rows whose message is a duplicate, too."""
        for letters in parquet_rows([self.letters]):
            balance.doubt(letters.filter(~pl.col("is_resolved"))["trade_id"])
        for counted in parquet_rows([self.counted]):
            balance.doubt(counted.filter(balance.is_silver(counted))["trade_id"])
        for corrections in parquet_rows([self.corrections]):
            balance.doubt(corrections["trade_id"])


def spilled(path: Path, balance: Balance, folder: Path, buckets: int) -> Spill:
    """Of the rows of a local file those in doubt, by bucket."""
    spill = Spill(folder, buckets)
    for piece in parquet_rows([path]):
        spill.add(balance.in_doubt(piece))
    return spill


def _fetch(hot: HotStore, sql: str, parameters: Parameters, path: Path) -> Path:
    with hot.parquet(sql, parameters) as chunks, path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
    return path
