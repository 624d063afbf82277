"""What Silver and Gold would be by today's rules, against what they are: pure, column by column."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from silver_processor.core.refine import refine
from silver_processor.core.rules import Rules

IDENTITY = ["exchange", "symbol", "trade_id"]
VALUES = ["price", "quantity", "quote_volume", "timestamp", "side", "sequence", "exchange_symbol"]
COORDINATES = ["raw_topic", "raw_partition", "raw_offset", "published_at"]
CANDLE = ["open", "high", "low", "close", "volume", "quote_volume", "trade_count"]
_STAMPS = ["validated_at", "bronze_partition", "bronze_offset", "bronze_published_at", "insert_token"]


@dataclass(frozen=True, slots=True)
class Redone:
    """Cold Silver rows by today's rules, and how they differ from those there were, by identity.

    `rows`: all of them, unchanged ones as they were, byte for byte. `added`, `removed`, `altered`: the new rows, the
    old rows, the new rows. `unfounded` old rows have no Bronze row at all, so no rule speaks against them: they stay.
    """

    rows: pl.DataFrame
    added: pl.DataFrame
    removed: pl.DataFrame
    altered: pl.DataFrame
    unfounded: int


def redo(bronze: pa.Table, silver: pl.DataFrame, elsewhere: pl.DataFrame, rules: Rules) -> Redone:
    """Refine `bronze` (schema `schemas.records.BRONZE`) and compare with `silver` (columns of cold Silver).

    Of several messages with one identity the one whose values Silver has stays, else Silver's own message, else the
    earliest. `elsewhere` (`IDENTITY`) are trades that Silver has in another place: they are not added.
    """
    refined = pl.DataFrame(refine(bronze, rules).valid).with_columns(pl.col("sequence").cast(pl.Decimal(20, 0)))
    fresh = refined.with_columns(pl.col("published_at").cast(pl.Datetime("us", "UTC")))
    fresh = fresh.with_columns(pl.col(pl.UInt32, pl.UInt64).cast(pl.Int64)).cast({"side": pl.String})
    old = silver.select([*IDENTITY, *VALUES[:-1], "exchange_symbol", *COORDINATES, *_STAMPS]).rename(
        {name: f"{name}_old" for name in [*VALUES, *COORDINATES, *_STAMPS]}
    )
    met = fresh.join(old, on=IDENTITY, how="left")
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_old")) for name in VALUES)
    own = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_old")) for name in COORDINATES)
    best = (
        met.with_columns(same.alias("same"), own.alias("own"))
        .sort("same", "own", "ingested_at", *COORDINATES, descending=[True, True] + [False] * (1 + len(COORDINATES)))
        .unique(IDENTITY, keep="first", maintain_order=True)
    )
    known = pl.col("validated_at_old").is_not_null()
    altered = best.filter(known & ~pl.col("same"))
    altered = altered.with_columns(pl.col(f"{name}_old").alias(name) for name in _STAMPS)
    added = best.filter(~known).join(elsewhere, on=IDENTITY, how="anti")
    # Deterministic, so that a repetition gives the same bytes: the time is that of the message's arrival.
    added = added.with_columns(
        pl.col("ingested_at").alias("validated_at"),
        pl.lit(0, pl.Int64).alias("bronze_partition"),
        pl.lit(0, pl.Int64).alias("bronze_offset"),
        pl.col("published_at").alias("bronze_published_at"),
        pl.lit(f"rederive:{rules.version}").alias("insert_token"),
    )
    founded = pl.DataFrame(bronze.select(["exchange", "symbol", "trade_id"])).rename({"symbol": "exchange_symbol"})
    gone = silver.join(best, on=IDENTITY, how="anti")
    removed = gone.join(founded, on=["exchange", "exchange_symbol", "trade_id"], how="semi")
    columns = silver.columns
    new = pl.concat([altered.select(columns), added.select(columns)]).cast(silver.schema)
    kept = silver.join(removed, on=COORDINATES, how="anti").join(altered, on=IDENTITY, how="anti")
    rows = pl.concat([kept, new]).sort("symbol", "timestamp", "trade_id")
    return Redone(
        rows=rows,
        added=new.join(silver, on=IDENTITY, how="anti"),
        removed=removed,
        altered=new.join(silver, on=IDENTITY, how="semi"),
        unfounded=gone.height - removed.height,
    )


def candles(silver: pl.DataFrame, seconds: int) -> pl.DataFrame:
    """Candles of Silver rows: columns and types of a cold Gold table, sorted as its files are."""
    start = (pl.col("timestamp").dt.epoch("us") // (seconds * 1_000_000)) * (seconds * 1_000_000)
    return (
        silver.sort("timestamp", "sequence", "trade_id")
        .with_columns(start.cast(pl.Datetime("us", "UTC")).alias("window_start"))
        .group_by("exchange", "symbol", "window_start", maintain_order=True)
        .agg(
            pl.col("price").first().alias("open"),
            pl.col("price").max().alias("high"),
            pl.col("price").min().alias("low"),
            pl.col("price").last().alias("close"),
            pl.col("quantity").sum().alias("volume"),
            pl.col("quote_volume").sum(),
            pl.len().cast(pl.Int64).alias("trade_count"),
        )
        .sort("symbol", "window_start")
    )


def candles_altered(before: pl.DataFrame, after: pl.DataFrame) -> int:
    """Candles that are in one only, or differ in a number."""
    names = ["exchange", "symbol", "window_start", *CANDLE]
    first, second = before.select(names), after.select(names)
    keys = names[:3]
    gone = first.join(second, on=keys, how="anti").height
    return gone + second.join(first, on=names, how="anti").height
