"""A recorded tape, the venue's klines of it by an independent computation, and the faults that a tape can have."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache

import polars as pl

from tests.recorded import OURS

MINUTE = timedelta(minutes=1)
# What a part of a tape has of each minute, and how many trades the smaller of the two markets' parts has.
PART_OF_A_MINUTE, PARTS_HEIGHT = 60, 368
_PRICE = pl.Decimal(38, 18)


@cache
def tape(symbol: str = "BTCUSDT") -> pl.DataFrame:
    """Recorded trades of one market by time and id: trade_id, timestamp, price, quantity, is_buy, kind and counts."""
    order = [pl.col("trade_time_ns").cast(pl.Int64), pl.col("trade_id").cast(pl.Int64)]
    return _with_products(
        OURS["binance_spot_trades"]
        .trades()
        .filter(pl.col("symbol") == symbol)
        .sort(order)
        .select(
            "trade_id",
            timestamp=(pl.col("trade_time_ns").cast(pl.Int64) // 1_000)
            .cast(pl.Datetime("us"))
            .dt.replace_time_zone("UTC"),
            price=pl.col("price").cast(_PRICE),
            quantity=pl.col("qty").cast(_PRICE),
            is_buy=pl.col("side") == "BUY",
            match_count=pl.lit(1, pl.Int64),
            is_counted=pl.lit(True),
            trade_kind=pl.lit("market"),
        )
    )


def candles(trades: pl.DataFrame) -> pl.DataFrame:
    """The minutes of the trades that are counted, with exact sums."""
    exact = trades.filter("is_counted")
    bought = pl.when("is_buy").then("quantity").otherwise(pl.lit(Decimal(0), _PRICE))
    return (
        exact.sort("timestamp", pl.col("trade_id").cast(pl.Int64))
        .group_by(pl.col("timestamp").dt.truncate("1m").alias("window_start"))
        .agg(
            open=pl.col("price").first(),
            high=pl.col("price").max(),
            low=pl.col("price").min(),
            close=pl.col("price").last(),
            volume=pl.col("quantity").sum(),
            quote_volume=pl.col("quote").sum(),
            trade_count=pl.col("match_count").sum(),
            buy_volume=bought.sum(),
        )
        .sort("window_start")
    )


def klines(trades: pl.DataFrame) -> pl.DataFrame:
    """The same as the venue publishes it: a bar for every minute, one after the last, the last price where none is."""
    found = candles(trades)
    every = pl.datetime_range(found["window_start"].min(), found["window_start"].max() + MINUTE, "1m", eager=True)
    prices = ("open", "high", "low", "close")
    return (
        every.alias("window_start").to_frame().with_columns(pl.col("window_start").cast(pl.Datetime("us", "UTC")))
        .join(found, on="window_start", how="left")
        .sort("window_start")
        .with_columns(pl.col("close").forward_fill())
        .with_columns(pl.coalesce(name, "close").alias(name) for name in prices)
        .with_columns(pl.col("trade_count").fill_null(0))
        .with_columns(pl.col(name).fill_null(pl.lit(Decimal(0))) for name in ("volume", "quote_volume", "buy_volume"))
    )  # fmt: skip


@cache
def published(symbol: str = "BTCUSDT") -> pl.DataFrame:
    """The klines of the whole tape."""
    return klines(tape(symbol))


@cache
def part(symbol: str = "BTCUSDT") -> pl.DataFrame:
    """The first trades of each minute of the tape, whose ids follow each other as those of the tape do."""
    place = pl.int_range(pl.len()).over(pl.col("timestamp").dt.truncate("1m"))
    return tape(symbol).filter(place < PART_OF_A_MINUTE)


@cache
def published_part(symbol: str = "BTCUSDT") -> pl.DataFrame:
    """The klines of the part."""
    return klines(part(symbol))


def _with_products(trades: pl.DataFrame) -> pl.DataFrame:
    products = [price * quantity for price, quantity in trades.select("price", "quantity").iter_rows()]
    texts = pl.Series("quote", [f"{product:.20f}" for product in products])
    return trades.with_columns(quote=texts.cast(pl.Decimal(38, 20)))


def window(moment: datetime) -> datetime:
    """The minute (UTC) of a moment."""
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def missing(trades: pl.DataFrame, row: int) -> pl.DataFrame:
    return pl.concat([trades[:row], trades[row + 1 :]])


def changed(trades: pl.DataFrame, row: int, **columns: pl.Expr) -> pl.DataFrame:
    """The tape with other values in one row, in the order of time."""
    return pl.concat([trades[:row], trades[row : row + 1].with_columns(**columns), trades[row + 1 :]]).sort(
        "timestamp", maintain_order=True
    )


def added(trades: pl.DataFrame, row: int, trade_id: str, **columns: pl.Expr) -> pl.DataFrame:
    """The tape with a second trade beside one of its own, under another id."""
    more = _with_products(trades[row : row + 1].with_columns(trade_id=pl.lit(trade_id), **columns))
    return pl.concat([trades, more]).sort("timestamp", maintain_order=True)
