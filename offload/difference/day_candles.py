"""The minutes of a day's Silver before a re-derivation and after it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import polars as pl

from offload.difference.candles import TRADE_COLUMNS, candles, count_altered, minute_candles
from offload.difference.day import SilverPart, RederivedDay, no_silver
from offload.difference.minute_candles import MinuteSpill, merged_minutes
from offload.difference.in_parallel import in_parallel
from offload.difference.changes import DayChanges
from offload.tables.cold_tables import TABLES


class DayCandles:
    """Of all symbols; made when they are first asked for, in `folder`, from the files that Silver had.

    `after` is `before` where nothing changes.
    """

    def __init__(self, day: RederivedDay, changes: DayChanges, folder: Path) -> None:
        self._changes = changes
        folder.mkdir(parents=True)
        none = no_silver(changes.table)
        self.before = MinuteSpill(folder / "before", none)
        self.after = MinuteSpill(folder / "after", none) if changes.any else self.before
        parts = day.silver_parts(changes.table, changes.tasks, TRADE_COLUMNS)
        for _ in in_parallel(partial(self._add, part) for part in parts):
            pass
        if changes.any:
            for hour in changes.new_rows:
                for piece in changes.new.pieces(hour):
                    self.after.add(piece)

    def count_altered(self) -> dict[str, int]:
        """How many candles differ, by time frame."""
        gold = {cold.name.removeprefix("gold_ohlcv_"): cold.bucket_seconds for cold in TABLES if cold.layer == "gold"}
        found = dict.fromkeys(gold, 0)
        if self._changes.any:
            for before, after in merged_minutes(self.before, self.after):
                for frame, seconds in gold.items():
                    found[frame] += count_altered(candles(before, seconds), candles(after, seconds))
        return found

    def _add(self, part: SilverPart) -> None:
        for piece in part():
            made = minute_candles(piece)
            self.before.add_minutes(made)
            if self.after is not self.before:
                stay = self._staying(piece)
                self.after.add_minutes(made if stay.height == piece.height else minute_candles(stay))

    def _staying(self, piece: pl.DataFrame) -> pl.DataFrame:
        leaving = self._changes.leaving_rows.get(piece["file"][0]) if piece.height else None
        return piece if leaving is None else piece.filter(pl.Series(~leaving[piece["row"].to_numpy()]))
