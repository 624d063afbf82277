"""Compares candles with a venue's bars, cell by cell. Pure: Arrow columns in, Arrow columns out."""

from __future__ import annotations

import polars as pl
import pyarrow as pa

PRICES = ("open", "high", "low", "close")
SUMS = ("volume", "quote_volume", "trade_count", "buy_volume")
CELLS = (*PRICES, *SUMS)
EQUAL, DIFFERENT, NO_CANDLE, NO_BAR = "equal", "different", "no_candle", "no_bar"
_AMOUNT = pl.Decimal(38, 18)


def compare(ours: pa.Table, theirs: pa.Table) -> pa.Table:
    """One row a window that either side has, by time.

    Both sides: `window_start` (UTC), prices and volumes as Decimal (quote currency and base currency), `trade_count`.
    A cell that the venue does not publish (NULL) is not compared. A bar without volume and a missing candle are equal:
    some venues repeat the last price where nothing was traded.

    Returns:
        window_start; result: `equal`, `different`, `no_candle` (ours is missing) or `no_bar` (theirs is missing);
        compared: the number of cells that were compared; differing: the names of those that differ; for every cell
        `<cell>_ours` and `<cell>_theirs`, NULL if missing.
    """
    sides = [
        _typed(ours).select("window_start", *(pl.col(cell).alias(f"{cell}_ours") for cell in CELLS)),
        _typed(theirs).select("window_start", *(pl.col(cell).alias(f"{cell}_theirs") for cell in CELLS)),
    ]
    both = (
        sides[0]
        .with_columns(has_ours=pl.lit(True))
        .join(sides[1].with_columns(has_theirs=pl.lit(True)), on="window_start", how="full", coalesce=True)
        .sort("window_start")
    )
    is_empty = (pl.col("volume_theirs") == 0).fill_null(False)
    result = (
        pl.when(pl.col("has_theirs").is_null())
        .then(pl.lit(NO_BAR))
        .when(pl.col("has_ours").is_null())
        .then(pl.when(is_empty).then(pl.lit(EQUAL)).otherwise(pl.lit(NO_CANDLE)))
        .when(pl.any_horizontal(_differs(cell) for cell in CELLS))
        .then(pl.lit(DIFFERENT))
        .otherwise(pl.lit(EQUAL))
    )
    differing = pl.concat_list(
        pl.when(_differs(cell)).then(pl.lit(cell)).otherwise(pl.lit(None, pl.String)) for cell in CELLS
    ).list.drop_nulls()
    compared = pl.sum_horizontal(
        (pl.col(f"{cell}_ours").is_not_null() & pl.col(f"{cell}_theirs").is_not_null()).cast(pl.Int64) for cell in CELLS
    )
    cells = [f"{cell}_{side}" for cell in CELLS for side in ("ours", "theirs")]
    return both.select(
        "window_start",
        result.alias("result"),
        compared.alias("compared"),
        differing.alias("differing"),
        *cells,
    ).to_arrow()


def _differs(cell: str) -> pl.Expr:
    """Whether both sides have the cell and its values differ."""
    return (pl.col(f"{cell}_ours") != pl.col(f"{cell}_theirs")).fill_null(False)


def _typed(side: pa.Table) -> pl.DataFrame:
    """A side with the common types. A quote volume keeps up to 20 decimals."""
    frame = pl.DataFrame(pl.from_arrow(side))
    return frame.with_columns(
        pl.col("window_start").cast(pl.Datetime("us", "UTC")),
        *(pl.col(name).cast(_AMOUNT) for name in (*PRICES, "volume", "buy_volume")),
        pl.col("quote_volume").cast(pl.Decimal(38, 20)),
        pl.col("trade_count").cast(pl.Int64),
    )
