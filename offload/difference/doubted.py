"""The rows of the trade ids in doubt, read again and spilled, so that what belongs to one trade is met together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from threading import Lock

import polars as pl
from pyiceberg.table import Table

from offload.difference.checksums import IdChecksums
from offload.difference.day import COLD_BRONZE, BronzePart, SilverPart, RederivedDay, no_silver
from offload.difference.match_index import MatchIndex
from offload.difference.in_parallel import in_parallel
from offload.difference.spill import Spill
from schemas.records import BRONZE
from silver_processor.core.refine import refine

_MATCHES = pl.col("matches")


class SuspectRows:
    """Rows of Silver (with `file` and `row`) and Bronze in doubt, by bucket, and what is known of their matches.

    `silver` (of `table`) and `bronze`: all rows of the day; `summed_symbols`: the symbols (canonical) that have trades of
    several matches.
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
        """Rows of Silver and of Bronze, each in an order that is always the same."""
        return self._silver.read(bucket).sort("file", "row"), self._bronze.read(bucket)

    def _add_silver(self, part: SilverPart) -> None:
        for piece in part():
            rows = self._day.compared(piece)
            self._silver.add(self._checksums.suspects(rows))
            # What sums up several matches may be in doubt because of any trade.
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
