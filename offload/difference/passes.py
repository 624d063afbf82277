"""Reads a day's cold Bronze and Silver twice: to find the suspect trade ids, then to collect their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock

import polars as pl
from pyiceberg.table import Table

from offload.difference.day import COLD_BRONZE, BronzePart, RederivedDay, SilverPart, in_parallel, no_silver
from offload.difference.hot_records import KafkaTimes
from offload.difference.id_checksums import IdChecksums
from offload.difference.match_index import MatchIndex
from offload.difference.spill import Spill
from schemas.records import BRONZE
from silver_processor.core.refine import refine

_MATCHES = pl.col("matches")


@dataclass
class FirstPass:
    """Totals of the first pass: compared rows of Silver, messages, and the Kafka times of both.

    `summed_symbols`: canonical symbols that have trades of several matches.
    """

    silver_rows: int = 0
    messages: int = 0
    published: KafkaTimes = field(default_factory=KafkaTimes)
    summed_symbols: set[str] = field(default_factory=set)

    def note_summed(self, rows: pl.DataFrame) -> None:
        """Remember the symbols of valid rows that have several matches."""
        self.summed_symbols |= set(rows.filter(pl.col("match_count") > 1)["symbol"])

    def add(self, other: FirstPass) -> None:
        """Add the totals of another part."""
        self.silver_rows += other.silver_rows
        self.messages += other.messages
        self.published.add(other.published)
        self.summed_symbols |= other.summed_symbols


def first_pass(
    day: RederivedDay, checksums: IdChecksums, silver: Sequence[SilverPart], bronze: Sequence[BronzePart]
) -> FirstPass:
    """Refine all messages, and add them and Silver's rows (columns `SILVER_COLUMNS`) to `checksums`."""
    totals = FirstPass()
    reads = [
        *(partial(_pass_bronze, day, checksums, part) for part in bronze),
        *(partial(_pass_silver, day, checksums, part) for part in silver),
    ]
    for part in in_parallel(reads):
        totals.add(part)
    return totals


def _pass_bronze(day: RederivedDay, checksums: IdChecksums, part: BronzePart) -> FirstPass:
    totals = FirstPass()
    for piece in part():
        totals.messages += piece.num_rows
        totals.published.add_rows(pl.DataFrame(piece.select(["published_at"])))
        refined = refine(piece, day.rules)
        valid = pl.DataFrame(refined.valid)
        totals.note_summed(valid)
        checksums.add_valid(valid)
        if refined.rejects.num_rows:
            checksums.add_rejects(pl.DataFrame(refined.rejects))
    return totals


def _pass_silver(day: RederivedDay, checksums: IdChecksums, part: SilverPart) -> FirstPass:
    totals = FirstPass()
    for piece in part():
        rows = day.compared(piece)
        totals.silver_rows += rows.height
        totals.published.add_rows(rows)
        totals.note_summed(rows)
        checksums.add_silver(rows)
    return totals


class SuspectRows:
    """The second pass: rows of Silver (with `file` and `row`) and Bronze with suspect ids, by bucket.

    `silver` (of `table`) and `bronze` are all rows of the day. `matches`: the index of the matches in them.
    """

    def __init__(
        self,
        day: RederivedDay,
        checksums: IdChecksums,
        table: Table,
        silver: Sequence[SilverPart],
        bronze: Sequence[BronzePart],
        summed_symbols: set[str],
        folder: Path,
        buckets: int,
    ) -> None:
        self.matches = MatchIndex(summed_symbols)
        self._day, self._checksums = day, checksums
        self._silver, self._bronze = Spill(folder / "silver", buckets), Spill(folder / "bronze", buckets)
        self._silver.add(no_silver(table))
        self._bronze.add(COLD_BRONZE.to_frame())
        self._lock = Lock()
        reads = [*(partial(self._add_bronze, part) for part in bronze)]
        for _ in in_parallel([*reads, *(partial(self._add_silver, part) for part in silver)]):
            pass

    def read(self, bucket: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Rows of Silver and of Bronze; those of Silver always in the same order."""
        return self._silver.read(bucket).sort("file", "row"), self._bronze.read(bucket)

    def _add_silver(self, part: SilverPart) -> None:
        for piece in part():
            rows = self._day.compared(piece)
            self._silver.add(self._checksums.suspects(rows))
            # A suspect message may have a match of any other row, so the index needs all rows.
            with self._lock:
                self.matches.add_silver(rows)

    def _add_bronze(self, part: BronzePart) -> None:
        for piece in part():
            rows = self._checksums.suspects(pl.DataFrame(piece).cast(COLD_BRONZE))
            self._bronze.add(rows)
            several = rows.filter(~_MATCHES.is_in(["", "1"]))
            if several.height:
                valid = refine(several.to_arrow().cast(BRONZE), self._day.rules).valid
                with self._lock:
                    self.matches.add_bronze(pl.DataFrame(valid))
