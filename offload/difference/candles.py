"""Candles of Silver rows: minutes that are made in parts and add up, and longer frames from minutes (pure)."""

from __future__ import annotations

import polars as pl

from schemas.kinds import COUNTED

_KEY = ["exchange", "symbol", "window_start"]
_SUMS = ["volume", "quote_volume", "trade_count", "buy_volume", "sell_volume"]
_NUMBERS = ["open", "high", "low", "close", *_SUMS]
_ORDER = ["timestamp", "sequence", "trade_id"]
_FIRST, _LAST = [f"first_{name}" for name in _ORDER], [f"last_{name}" for name in _ORDER]
_MINUTE = 60
# What minutes are made of.
TRADE_COLUMNS = [*_KEY[:2], *_ORDER, "price", "quantity", "quote_volume", "side", "trade_kind", "match_count"]


def minute_candles(silver: pl.DataFrame) -> pl.DataFrame:
    """1-minute candles of those of a minute's trades that candles count, with the order keys of open and close for
    `merge_minutes`."""
    rows = silver.filter(pl.col("trade_kind").is_in(COUNTED)).sort(_ORDER).with_columns(_bucket("timestamp", _MINUTE))
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


def merge_minutes(one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """The minutes of the trades of both, as `minute_candles` would give them of all trades together."""
    rows = pl.concat([one, other])
    opened = rows.sort(_FIRST).group_by(_KEY, maintain_order=True)
    closed = rows.sort(_LAST).group_by(_KEY, maintain_order=True)
    made = opened.agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col(_SUMS).sum(),
        *(pl.col(name).first() for name in _FIRST),
    )
    ends = closed.agg(pl.col("close").last(), *(pl.col(name).last() for name in _LAST))
    return made.join(ends, on=_KEY, how="left").select(rows.columns)


def candles(whole_minutes: pl.DataFrame, seconds: int) -> pl.DataFrame:
    """Candles of a frame of whole minutes: columns and types of a cold Gold table, sorted as its files are."""
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
    """Candles that are in one only, or differ in a number."""
    names = [*_KEY, *_NUMBERS]
    first, second = before.select(names), after.select(names)
    gone = first.join(second, on=_KEY, how="anti").height
    return gone + second.join(first, on=names, how="anti").height


def _bucket(column: str, seconds: int) -> pl.Expr:
    length = seconds * 1_000_000
    start = pl.col(column).dt.epoch("us") // length * length
    return start.cast(pl.Datetime("us", "UTC")).alias("window_start")
