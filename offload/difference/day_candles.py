"""Computes the minutes of a day's Silver before and after a re-derivation, and counts the candles that differ."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import polars as pl

from offload.difference.candles import (
    TRADE_COLUMNS,
    MinuteSpill,
    candles,
    count_altered,
    merged_minutes,
    minute_candles,
)
from offload.difference.changes import DayChanges
from offload.difference.day import RederivedDay, SilverPart, in_parallel, no_silver
from offload.tables.cold_tables import GOLD


class DayCandles:
    """The minutes of all symbols before and after, in `folder`, computed from Silver's files before the re-derivation.

    `after` is `before` if nothing changes.
    """

    def __init__(self, day: RederivedDay, changes: DayChanges, folder: Path) -> None:
        self._changes = changes
        folder.mkdir(parents=True)
        empty = no_silver(changes.table)
        self.before = MinuteSpill(folder / "before", empty)
        self.after = MinuteSpill(folder / "after", empty) if changes.any else self.before
        parts = day.silver_parts(changes.table, changes.tasks, TRADE_COLUMNS)
        for _ in in_parallel(partial(self._add, part) for part in parts):
            pass
        if changes.any:
            for hour in changes.new_rows:
                for piece in changes.new.pieces(hour):
                    self.after.add(piece)

    def count_altered(self) -> dict[str, int]:
        """How many candles differ, by time frame."""
        counts = {cold.timeframe: 0 for cold in GOLD}
        if self._changes.any:
            for before, after in merged_minutes(self.before, self.after):
                for cold in GOLD:
                    seconds = cold.bucket_seconds
                    counts[cold.timeframe] += count_altered(candles(before, seconds), candles(after, seconds))
        return counts

    def _add(self, part: SilverPart) -> None:
        for piece in part():
            minutes = minute_candles(piece)
            self.before.add_minutes(minutes)
            if self.after is not self.before:
                staying = self._staying(piece)
                self.after.add_minutes(minutes if staying.height == piece.height else minute_candles(staying))

    def _staying(self, piece: pl.DataFrame) -> pl.DataFrame:
        """The rows of one file's piece that stay in Silver."""
        leaving = self._changes.leaving_rows.get(piece["file"][0]) if piece.height else None
        return piece if leaving is None else piece.filter(pl.Series(~leaving[piece["row"].to_numpy()]))
