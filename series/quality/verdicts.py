"""The verdict on every window that was compared. Pure: Arrow columns in, Arrow columns out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa

from series.quality.causes import Cause, Evidence, EvidenceTrade, Explanation, Span, Window
from series.quality.compare import CELLS, DIFFERENT, NO_BAR, NO_CANDLE
from series.quality.explain import explain

VERDICTS = pa.schema(
    [
        ("window_start", pa.timestamp("us", "UTC")),
        ("result", pa.string()),
        ("cause", pa.string()),
        ("detail", pa.string()),
        ("compared", pa.uint8()),
        ("differing", pa.list_(pa.string())),
        ("ours", pa.list_(pa.string())),
        ("theirs", pa.list_(pa.string())),
        ("trade_ids", pa.list_(pa.string())),
    ]
)


def differing_windows(compared: pa.Table) -> list[datetime]:
    """The starts of the windows whose trades explain a difference."""
    rows = compared.filter(pa.compute.is_in(compared["result"], pa.array([DIFFERENT, NO_CANDLE])))
    starts: list[datetime] = rows["window_start"].to_pylist()
    return starts


def verdicts_of(
    compared: pa.Table,
    trades: pa.Table,
    gaps: pa.Table,
    dead_letters: pa.Table,
    length: timedelta,
    until: datetime | None,
) -> pa.Table:
    """The verdict on every window of `compared` (what `compare` returns), as `VERDICTS`.

    Cells that differ are in `differing`, their exact values as texts in `ours` and `theirs`, "" where a side has none.

    Args:
        trades: of the windows that differ and their neighbours, by time: trade_id, timestamp, price, quantity, is_buy,
            match_count, is_counted, trade_kind.
        gaps: from_time, to_time, description.
        dead_letters: timestamp, trade_id, description.
        length: of a window.
        until: time of the market's newest trade in Silver.
    """
    evidence = Evidence(
        length,
        [_trade(row) for row in trades.to_pylist()],
        [Span(row["from_time"], row["to_time"], row["description"]) for row in gaps.to_pylist()],
        [
            Span(row["timestamp"], row["timestamp"], row["description"], (row["trade_id"],))
            for row in dead_letters.to_pylist()
        ],
        until,
        _decimals(compared),
    )
    rows = compared.to_pylist()
    windows = {row["window_start"]: _window(row) for row in rows if row["result"] in {DIFFERENT, NO_CANDLE}}
    explained = dict(zip(windows, explain(list(windows.values()), evidence), strict=True))
    return pa.Table.from_pylist([_verdict(row, explained.get(row["window_start"])) for row in rows], VERDICTS)


def _verdict(row: dict[str, Any], found: Explanation | None) -> dict[str, Any]:
    if row["result"] == NO_BAR:
        found = Explanation(Cause.NO_BAR, "the venue's bar is not stored: medallion series run bars")
    differing = _differing(row)
    return {
        "window_start": row["window_start"],
        "result": row["result"],
        "cause": found.cause.value if found else "",
        "detail": found.detail if found else "",
        "compared": row["compared"],
        "differing": list(differing),
        "ours": [_text(row[f"{cell}_ours"]) for cell in differing],
        "theirs": [_text(row[f"{cell}_theirs"]) for cell in differing],
        "trade_ids": list(found.trade_ids) if found else [],
    }


def _differing(row: dict[str, Any]) -> Sequence[str]:
    """The cells that differ; if the candle is missing, all cells that the venue has."""
    if row["result"] == NO_CANDLE:
        return [cell for cell in CELLS if row[f"{cell}_theirs"] is not None]
    differing: list[str] = row["differing"]
    return differing


def _window(row: dict[str, Any]) -> Window:
    return Window(
        row["window_start"],
        tuple(_differing(row)),
        {cell: row[f"{cell}_ours"] for cell in CELLS},
        {cell: row[f"{cell}_theirs"] for cell in CELLS},
    )


def _trade(row: dict[str, Any]) -> EvidenceTrade:
    return EvidenceTrade(
        row["trade_id"],
        row["timestamp"],
        row["price"],
        row["quantity"],
        bool(row["is_buy"]),
        row["match_count"],
        bool(row["is_counted"]),
        row["trade_kind"],
    )


def _decimals(compared: pa.Table) -> dict[str, int]:
    """By volume cell, the largest number of decimals in the venue's bars."""
    frame = pl.DataFrame(pl.from_arrow(compared))
    texts = (
        pl.col(f"{cell}_theirs")
        .cast(pl.String)
        .str.extract(r"\.(\d*?)0*$")
        .str.len_chars()
        .max()
        .fill_null(0)
        .alias(cell)
        for cell in ("volume", "quote_volume", "buy_volume")
    )
    found: dict[str, int] = frame.select(*texts).row(0, named=True) if frame.height else {}
    return found


def _text(value: object) -> str:
    if value is None:
        return ""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
