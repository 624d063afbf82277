"""Computes how long trades take from layer to layer. Pure functions over times in µs."""

from __future__ import annotations

import polars as pl

WHOLE = "trade → candle"
STAGES = {
    "producer": ("received", "published"),
    "raw topic → Raw": ("published", "ingested"),
    "Raw → Bronze topic": ("ingested", "bronze_published"),
    "Bronze topic → Silver": ("bronze_published", "validated"),
    "Silver → candles": ("validated", "visible"),
    WHOLE: ("received", "visible"),
}
_MARKET = ["exchange", "symbol"]
_MS = 1_000.0


def with_visibility(journeys: pl.DataFrame, looks: pl.DataFrame) -> pl.DataFrame:
    """Add to each trade the time `visible`: when a look at the candles first counts the trade.

    The trades of a market stay in order, so its n-th trade is in the candles once they count n trades.

    Args:
        journeys: a row for each trade: `exchange, symbol, number` (within its market, from 1), and times.
        looks: from `bench.pipeline.visibility.Watcher`.

    Raises:
        ValueError: a trade was never seen in the candles.
    """
    keys = [pl.col(name).cast(pl.String) for name in _MARKET]
    first = looks.group_by(*_MARKET, "trades").agg(pl.col("seen").min().alias("visible")).sort("trades")
    joined = (
        journeys.with_columns(*keys, pl.col("number").cast(pl.Int64))
        .sort("number")
        .join_asof(
            first,
            left_on="number",
            right_on="trades",
            by=_MARKET,
            strategy="forward",
            coalesce=False,
            # Both are sorted. polars cannot check that by group, and would warn.
            check_sortedness=False,
        )
    )
    unseen = joined["visible"].null_count()
    if unseen:
        raise ValueError(f"{unseen} of {joined.height} trades were never seen in the candles: wait for them")
    return joined.drop("trades")


def durations(journeys: pl.DataFrame) -> pl.DataFrame:
    """Columns `stage, mean_ms, p50_ms, p90_ms, p99_ms, max_ms`: a row for each stage in order, the whole journey last.

    A stage whose times are not in `journeys` is left out: another pipeline may have only the whole journey. The means
    of the stages add up to that of the whole. `published` and `bronze_published` are whole ms, so stages that begin or
    end with them are off by up to 1 ms.
    """
    rows = []
    for name, (start, end) in STAGES.items():
        if start not in journeys.columns or end not in journeys.columns:
            continue
        took = (journeys[end] - journeys[start]) / _MS
        quantiles = {f"p{p}_ms": took.quantile(p / 100, "nearest") for p in (50, 90, 99)}
        rows.append({"stage": name, "mean_ms": took.mean(), **quantiles, "max_ms": took.max()})
    return pl.DataFrame(rows)


def drift(journeys: pl.DataFrame) -> float:
    """The median latency of the later half of the trades, divided by that of the earlier half."""
    took = journeys.sort("received").select(pl.col("visible") - pl.col("received")).to_series()
    half = took.len() // 2
    early, late = took.head(half).median(), took.tail(half).median()
    if not isinstance(early, float) or not isinstance(late, float) or not early:
        raise ValueError(f"{took.len()} trades have no two halves: measure longer")
    return late / early
