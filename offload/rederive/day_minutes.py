"""The minutes of a day's Silver before a re-derivation and after it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import polars as pl

from offload.difference.candles import TRADE, candles, candles_altered, minutes
from offload.difference.day import SilverPart, Work, no_silver
from offload.difference.minutes import Minutes, together
from offload.difference.side_by_side import side_by_side
from offload.rederive.changes import Changes
from offload.tables.cold_tables import TABLES


class DayMinutes:
    """Of all symbols; made when they are first asked for, in `folder`, from the files that Silver had.

    `after` is `before` where nothing changes.
    """

    def __init__(self, work: Work, changes: Changes, folder: Path) -> None:
        self._changes = changes
        folder.mkdir(parents=True)
        none = no_silver(changes.table)
        self.before = Minutes(folder / "before", none)
        self.after = Minutes(folder / "after", none) if changes.any else self.before
        parts = work.silver_parts(changes.table, changes.tasks, TRADE)
        for _ in side_by_side(partial(self._add, part) for part in parts):
            pass
        if changes.any:
            for hour in changes.new_rows:
                for piece in changes.new.pieces(hour):
                    self.after.add(piece)

    def altered(self) -> dict[str, int]:
        """How many candles differ, by time frame."""
        gold = {cold.name.removeprefix("gold_ohlcv_"): cold.bucket_seconds for cold in TABLES if cold.layer == "gold"}
        found = dict.fromkeys(gold, 0)
        if self._changes.any:
            for before, after in together(self.before, self.after):
                for frame, seconds in gold.items():
                    found[frame] += candles_altered(candles(before, seconds), candles(after, seconds))
        return found

    def _add(self, part: SilverPart) -> None:
        for piece in part():
            made = minutes(piece)
            self.before.add_made(made)
            if self.after is not self.before:
                stay = self._staying(piece)
                self.after.add_made(made if stay.height == piece.height else minutes(stay))

    def _staying(self, piece: pl.DataFrame) -> pl.DataFrame:
        leaving = self._changes.gone.get(piece["file"][0]) if piece.height else None
        return piece if leaving is None else piece.filter(pl.Series(~leaving[piece["row"].to_numpy()]))
