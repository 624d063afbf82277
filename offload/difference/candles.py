"""Computes candles from Silver rows: minutes from parts of the rows, which are merged, and longer frames from minutes.

The minutes of a day are merged in bounded memory: `MinuteSpill` keeps the parts on disk by symbol.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from offload.difference.spill import Spill
from schemas.kinds import COUNTED

_KEY = ["exchange", "symbol", "window_start"]
_SUMS = ["volume", "quote_volume", "trade_count", "buy_volume", "sell_volume"]
_NUMBERS = ["open", "high", "low", "close", *_SUMS]
_ORDER = ["timestamp", "sequence", "trade_id"]
_FIRST, _LAST = [f"first_{name}" for name in _ORDER], [f"last_{name}" for name in _ORDER]
MINUTE_SECONDS = 60
# The columns of Silver from which minutes are computed.
TRADE_COLUMNS = [*_KEY[:2], *_ORDER, "price", "quantity", "quote_volume", "side", "trade_kind", "match_count"]
# Symbols are in this many groups. A few groups at a time are in memory, or all groups if there are few minutes.
GROUPS = 32
_MERGE_ROWS = 40_000


def minute_candles(silver: pl.DataFrame) -> pl.DataFrame:
    """1-minute candles of the trades that candles count, with the order keys of open and close for `merge_minutes`."""
    rows = silver.filter(pl.col("trade_kind").is_in(COUNTED)).sort(_ORDER)
    rows = rows.with_columns(_bucket("timestamp", MINUTE_SECONDS))
    return rows.group_by(_KEY, maintain_order=True).agg(
        pl.col("price").first().alias("open"),
        pl.col("price").max().alias("high"),
        pl.col("price").min().alias("low"),
        pl.col("price").last().alias("close"),
        pl.col("quantity").sum().alias("volume"),
        pl.col("quote_volume").sum(),
        pl.col("match_count").sum().cast(pl.Int64).alias("trade_count"),
        pl.col("quantity").filter(pl.col("side") == "BUY").sum().alias("buy_volume"),
        pl.col("quantity").filter(pl.col("side") == "SELL").sum().alias("sell_volume"),
        *(pl.col(name).first().alias(f"first_{name}") for name in _ORDER),
        *(pl.col(name).last().alias(f"last_{name}") for name in _ORDER),
    )


def merge_minutes(first: pl.DataFrame, second: pl.DataFrame) -> pl.DataFrame:
    """The minutes of the trades of both frames, equal to those that `minute_candles` computes of all these trades."""
    rows = pl.concat([first, second])
    opened = rows.sort(_FIRST).group_by(_KEY, maintain_order=True)
    closed = rows.sort(_LAST).group_by(_KEY, maintain_order=True)
    merged = opened.agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col(_SUMS).sum(),
        *(pl.col(name).first() for name in _FIRST),
    )
    ends = closed.agg(pl.col("close").last(), *(pl.col(name).last() for name in _LAST))
    return merged.join(ends, on=_KEY, how="left").select(rows.columns)


def candles(whole_minutes: pl.DataFrame, seconds: int) -> pl.DataFrame:
    """Candles of a frame of `seconds` from whole minutes: columns, types and order of a cold Gold table."""
    return (
        whole_minutes.sort("window_start")
        .with_columns(_bucket("window_start", seconds))
        .group_by(_KEY, maintain_order=True)
        .agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            pl.col(_SUMS).sum(),
        )
        .sort("exchange", "symbol", "window_start")
    )


def count_altered(before: pl.DataFrame, after: pl.DataFrame) -> int:
    """How many candles are in only one of the two frames or differ in a number."""
    names = [*_KEY, *_NUMBERS]
    first, second = before.select(names), after.select(names)
    missing = first.join(second, on=_KEY, how="anti").height
    return missing + second.join(first, on=names, how="anti").height


class MinuteSpill:
    """The 1-minute candles of all trades added, on disk. `like`: a frame with the trades' columns (cold Silver's)."""

    def __init__(self, folder: Path, like: pl.DataFrame) -> None:
        self._spill = Spill(folder, GROUPS, by=pl.col("symbol").hash(seed=0) % GROUPS)
        self.add(like.clear())

    def add(self, silver: pl.DataFrame) -> None:
        """Add trades."""
        self.add_minutes(minute_candles(silver))

    def add_minutes(self, minutes: pl.DataFrame) -> None:
        """Add the minutes of some trades (`minute_candles`)."""
        self._spill.add(minutes)

    @property
    def empty(self) -> pl.DataFrame:
        """No minutes."""
        return self._spill.empty

    def pieces(self, group: int) -> Iterator[pl.DataFrame]:
        """The minutes that were added for the symbols of a group, piece by piece and not merged."""
        return self._spill.pieces(group)

    def groups(self) -> Iterator[pl.DataFrame]:
        """All minutes, merged, a group of symbols at a time."""
        return (minutes for (minutes,) in merged_minutes(self))


def merged_minutes(*spills: MinuteSpill) -> Iterator[tuple[pl.DataFrame, ...]]:
    """The merged minutes of each spill, of the same group of symbols at a time."""
    sums = [_MinuteSum(spill.empty) for spill in spills]
    for group in range(GROUPS):
        for total, spill in zip(sums, spills, strict=True):
            for piece in spill.pieces(group):
                total.add(piece)
        if group == GROUPS - 1 or sum(total.rows for total in sums) >= _MERGE_ROWS:
            yield tuple(total.take() for total in sums)


class _MinuteSum:
    """Minutes that are merged whenever `_MERGE_ROWS` unmerged ones are held."""

    def __init__(self, empty: pl.DataFrame) -> None:
        self._empty = empty
        self._merged, self._parts, self._waiting = empty, [empty], 0

    @property
    def rows(self) -> int:
        """Upper bound on the number of minutes."""
        return self._merged.height + self._waiting

    def add(self, piece: pl.DataFrame) -> None:
        self._parts.append(piece)
        self._waiting += piece.height
        if self._waiting >= _MERGE_ROWS:
            self._merge()

    def take(self) -> pl.DataFrame:
        """The merged minutes; the sum is empty afterwards."""
        self._merge()
        taken, self._merged = self._merged, self._empty
        return taken

    def _merge(self) -> None:
        self._merged = merge_minutes(self._merged, pl.concat(self._parts))
        self._parts, self._waiting = [self._empty], 0


def _bucket(column: str, seconds: int) -> pl.Expr:
    length = seconds * 1_000_000
    start = pl.col(column).dt.epoch("us") // length * length
    return start.cast(pl.Datetime("us", "UTC")).alias("window_start")
