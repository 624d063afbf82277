"""The truth of recorded trades, computed with polars from `tests.recorded`, never with product code."""

from __future__ import annotations

import decimal
import functools
from decimal import Decimal
from pathlib import Path

import polars as pl
import yaml

from tests.recorded import Recorded

# Python's default of 28 digits would round a product of two long decimals.
decimal.getcontext().prec = 100

ROOT = Path(__file__).resolve().parents[2]
# polars writes a length of time as `ddl/layers.yaml` does.
FRAMES = tuple(
    code
    for kept in yaml.safe_load((ROOT / "ddl" / "layers.yaml").read_text(encoding="utf-8"))["candles"]
    for code in kept["frames"]
)
CELLS = ("open", "high", "low", "close", "volume", "quote_volume", "trade_count")


@functools.cache
def canonical(code: str, symbol: str) -> str:
    """The canonical symbol according to config/symbols.yaml, read here without the product."""
    registry = yaml.safe_load((ROOT / "config" / "symbols.yaml").read_text(encoding="utf-8"))
    return str(registry["exchanges"][code][symbol]["canonical"])


def trades(recorded: Recorded) -> pl.DataFrame:
    """Unique trades: exchange, symbol (canonical), trade_id, price, quantity (Decimal), side, timestamp (µs), position.

    `position` orders trades of one instant: by the id as a number where ids are numbers, else as the recording has
    them, which is by time, sequence and arrival.
    """
    frame = recorded.trades()
    symbols = [canonical(recorded.code, symbol) for symbol in frame["symbol"]]
    return frame.with_columns(
        exchange=pl.lit(recorded.code),
        symbol=pl.Series(symbols),
        price=pl.col("price").cast(pl.Decimal(38, 18)),
        quantity=pl.col("qty").cast(pl.Decimal(38, 18)),
        timestamp=(pl.col("trade_time_ns").cast(pl.Int64) // 1000).cast(pl.Datetime("us")),
        position=pl.coalesce(pl.col("trade_id").cast(pl.Int64, strict=False), pl.int_range(pl.len(), dtype=pl.Int64)),
    ).select("exchange", "symbol", "trade_id", "price", "quantity", "side", "timestamp", "position")


def candles(unique: pl.DataFrame, frame: str) -> dict[tuple[str, str, str], dict[str, str]]:
    """(exchange, symbol, window start) → its cells as decimal text, exact."""
    ordered = unique.with_columns(window=pl.col("timestamp").dt.truncate(frame)).sort("timestamp", "position")
    result: dict[tuple[str, str, str], dict[str, str]] = {}
    for key, group in ordered.group_by(["exchange", "symbol", "window"], maintain_order=True):
        prices, quantities = group["price"].to_list(), group["quantity"].to_list()
        cells: dict[str, object] = {
            "open": prices[0],
            "high": max(prices),
            "low": min(prices),
            "close": prices[-1],
            "volume": sum(quantities, Decimal(0)),
            "quote_volume": sum((p * q for p, q in zip(prices, quantities, strict=True)), Decimal(0)),
            "trade_count": len(prices),
        }
        exchange, symbol, window = key
        result[str(exchange), str(symbol), f"{window:%Y-%m-%d %H:%M:%S}"] = {k: text(v) for k, v in cells.items()}
    return result


def text(number: object) -> str:
    """A number as plain decimal text without trailing zeros."""
    plain = f"{Decimal(str(number)):f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain
