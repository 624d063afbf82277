"""The minutes of a day's trades, added up from many parts in bounded memory: on disk, by symbol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from offload.difference.candles import merge_minutes, minute_candles
from offload.difference.spill import Spill

# Symbols in so many groups: a few groups, or many where there are few minutes, are in memory at once.
GROUPS = 32
_MERGE_ROWS = 40_000


class MinuteSpill:
    """1-minute candles of the trades that were added; `like` has the trades' columns (cold Silver's)."""

    def __init__(self, folder: Path, like: pl.DataFrame) -> None:
        self._spill = Spill(folder, GROUPS, by=pl.col("symbol").hash(seed=0) % GROUPS)
        self.add(like.clear())

    def add(self, silver: pl.DataFrame) -> None:
        """Add trades."""
        self.add_minutes(minute_candles(silver))

    def add_minutes(self, made: pl.DataFrame) -> None:
        """Add trades of which there are minutes (`candles.minutes`)."""
        self._spill.add(made)

    @property
    def empty(self) -> pl.DataFrame:
        """No minutes."""
        return self._spill.empty

    def pieces(self, group: int) -> Iterator[pl.DataFrame]:
        """What was added of the symbols of a group, piece by piece."""
        return self._spill.pieces(group)

    def groups(self) -> Iterator[pl.DataFrame]:
        """All minutes, whole, some symbols' at a time."""
        return (one for (one,) in merged_minutes(self))


def merged_minutes(*several: MinuteSpill) -> Iterator[tuple[pl.DataFrame, ...]]:
    """All minutes of each, whole, the same symbols' at a time."""
    sums = [_MinuteSum(one.empty) for one in several]
    for group in range(GROUPS):
        for total, one in zip(sums, several, strict=True):
            for piece in one.pieces(group):
                total.add(piece)
        if group == GROUPS - 1 or sum(total.rows for total in sums) >= _MERGE_ROWS:
            yield tuple(total.take() for total in sums)


class _MinuteSum:
    """Minutes that are added up when there are enough of them for that to be worth it."""

    def __init__(self, empty: pl.DataFrame) -> None:
        self._empty = empty
        self._whole, self._parts, self._waiting = empty, [empty], 0

    @property
    def rows(self) -> int:
        """At most so many minutes there are."""
        return self._whole.height + self._waiting

    def add(self, piece: pl.DataFrame) -> None:
        self._parts.append(piece)
        self._waiting += piece.height
        if self._waiting >= _MERGE_ROWS:
            self._merge()

    def take(self) -> pl.DataFrame:
        """The sum; from here on there is none."""
        self._merge()
        taken, self._whole = self._whole, self._empty
        return taken

    def _merge(self) -> None:
        self._whole = merge_minutes(self._whole, pl.concat(self._parts))
        self._parts, self._waiting = [self._empty], 0
