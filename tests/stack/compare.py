"""Silver and Gold as `medallion query` shows them, in the form in which the truth is compared with them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import polars as pl

from tests.stack import truth
from tests.stack.conftest import Medallion

_SILVER = (
    "SELECT exchange, symbol, trade_id, price, quantity, side, toUnixTimestamp64Micro(timestamp) AS us "
    "FROM silver_trades"
)
Trade = tuple[str, ...]


def rows(medallion: Medallion, stack: Path, sql: str) -> list[dict[str, str]]:
    """The answer of `medallion query` as a program reads it."""
    answer = medallion("query", sql, "--format", "CSVWithNames", "--data-dir", stack).stdout
    return list(csv.DictReader(io.StringIO(answer)))


def silver_set(medallion: Medallion, stack: Path) -> list[Trade]:
    """Every row of Silver: identity and content."""
    return [
        (
            r["exchange"],
            r["symbol"],
            r["trade_id"],
            truth.text(r["price"]),
            truth.text(r["quantity"]),
            r["side"],
            r["us"],
        )
        for r in rows(medallion, stack, _SILVER)
    ]


def true_set(expected: pl.DataFrame) -> set[Trade]:
    """The same of `truth.trades`."""
    micros = expected["timestamp"].dt.epoch("us").to_list()
    return {
        (
            r["exchange"],
            r["symbol"],
            r["trade_id"],
            truth.text(r["price"]),
            truth.text(r["quantity"]),
            r["side"],
            str(us),
        )
        for r, us in zip(expected.iter_rows(named=True), micros, strict=True)
    }


Key = tuple[str, str, str]


def gold_rows(medallion: Medallion, stack: Path, suffix: str) -> dict[str, dict[Key, dict[str, str]]]:
    """Rows of `gold_ohlcv_<frame><suffix>` of all time frames, by frame, then by market and start; in one query."""
    sql = " UNION ALL ".join(f"SELECT '{frame}' AS frame, * FROM gold_ohlcv_{frame}{suffix}" for frame in truth.FRAMES)
    found: dict[str, dict[Key, dict[str, str]]] = {frame: {} for frame in truth.FRAMES}
    answer = rows(medallion, stack, sql)
    for row in answer:
        found[row["frame"]][row["exchange"], row["symbol"], row["window_start"]] = row
    assert sum(map(len, found.values())) == len(answer), "a candle is there twice"
    return found


def gold_candles(medallion: Medallion, stack: Path) -> dict[str, dict[Key, dict[str, str]]]:
    """The exact candles by time frame, each as `truth.candles`."""
    return {
        frame: {key: {cell: truth.text(row[cell]) for cell in truth.CELLS} for key, row in of_frame.items()}
        for frame, of_frame in gold_rows(medallion, stack, "_exact").items()
    }
