"""How long trades took from layer to layer: pure functions over times in µs."""

from __future__ import annotations

import polars as pl

STAGES = {
    "producer": ("received", "published"),
    "raw topic → Raw": ("published", "ingested"),
    "Raw → Bronze topic": ("ingested", "bronze_published"),
    "Bronze topic → Silver": ("bronze_published", "validated"),
    "Silver → candles": ("validated", "visible"),
    "trade → candle": ("received", "visible"),
}
_MS = 1_000.0


def with_visibility(journeys: pl.DataFrame, looks: pl.DataFrame) -> pl.DataFrame:
    """Each trade with `visible`: the first look that shows its insert.

    One Silver worker inserts one batch after the other and every row of an insert has the same `validated`, so a look
    whose newest insert is not older shows the trade.

    Args:
        journeys: a trade a row: `received, published, ingested, bronze_published, validated`.
        looks: of `bench.visibility.Watcher`.

    Raises:
        ValueError: a trade was never seen in the candles.
    """
    first = looks.group_by("newest").agg(pl.col("seen").min().alias("visible")).sort("newest")
    joined = journeys.sort("validated").join_asof(
        first, left_on="validated", right_on="newest", strategy="forward", coalesce=False
    )
    unseen = joined["visible"].null_count()
    if unseen:
        raise ValueError(f"{unseen} of {joined.height} trades were never seen in the candles: wait for them")
    return joined.drop("newest")


def durations(journeys: pl.DataFrame) -> pl.DataFrame:
    """Columns `stage, mean_ms, p50_ms, p90_ms, p99_ms, max_ms` in the order of the journey; the whole last.

    Means add up. `published` and `bronze_published` are whole milliseconds, which blurs the stages they bound by one.
    """
    rows = []
    for name, (start, end) in STAGES.items():
        took = (journeys[end] - journeys[start]) / _MS
        quantiles = {f"p{p}_ms": took.quantile(p / 100, "nearest") for p in (50, 90, 99)}
        rows.append({"stage": name, "mean_ms": took.mean(), **quantiles, "max_ms": took.max()})
    return pl.DataFrame(rows)
