"""The minutes of a day's trades, added up from many parts in bounded memory: on disk, by symbol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from offload.candles import add_minutes, minutes
from offload.spill import Spill

# Symbols in so many groups, each of which is in memory at once when its minutes are added up.
GROUPS = 32
_MERGE_ROWS = 40_000


class Minutes:
    """1-minute candles of the trades that were added; `like` has the trades' columns (cold Silver's)."""

    def __init__(self, folder: Path, like: pl.DataFrame) -> None:
        self._spill = Spill(folder, GROUPS, by=pl.col("symbol").hash(seed=0) % GROUPS)
        self.add(like.clear())

    def add(self, silver: pl.DataFrame) -> None:
        """Add trades."""
        self._spill.add(minutes(silver))

    def groups(self) -> Iterator[pl.DataFrame]:
        """All minutes, whole, group by group: of a symbol all are in one, in the same one of every `Minutes`."""
        for number in range(GROUPS):
            whole, parts, rows = self._spill.empty, [self._spill.empty], 0
            for part in self._spill.pieces(number):
                parts.append(part)
                rows += part.height
                if rows >= _MERGE_ROWS:
                    whole, parts, rows = add_minutes(whole, pl.concat(parts)), [self._spill.empty], 0
            yield add_minutes(whole, pl.concat(parts))
