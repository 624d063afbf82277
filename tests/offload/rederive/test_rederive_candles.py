"""Candles made of minutes that were made in parts are those of all trades at once, whatever the parts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from offload.difference.candles import MinuteSpill, candles, merge_minutes, minute_candles
from offload.difference.spill import Spill

START = datetime(2026, 1, 5, 23, 58, tzinfo=UTC)
NUMBERS = ("open", "high", "low", "close", "volume", "quote_volume", "trade_count", "buy_volume", "sell_volume")
FRAMES = (60, 300, 900, 1800, 3600, 86400)
TRADE = st.tuples(
    st.integers(0, 240), st.integers(0, 3), st.integers(1, 10**9), st.integers(1, 10**9), st.integers(0, 3)
)


def frame(trades: list[tuple[int, int, int, int, int]]) -> pl.DataFrame:
    """Silver rows of (seconds, sequence, price, quantity in units of 10^-8, part), with ids in order."""
    price, quantity, quote = pl.Decimal(38, 18), pl.Decimal(38, 18), pl.Decimal(38, 20)
    unit = Decimal(1).scaleb(-8)
    return pl.DataFrame(
        {
            "exchange": ["x"] * len(trades),
            "symbol": ["A" if trade[0] % 2 else "B" for trade in trades],
            "trade_id": [f"{number:04d}" for number in range(len(trades))],
            "timestamp": pl.Series(
                [START + timedelta(seconds=trade[0]) for trade in trades], dtype=pl.Datetime("us", "UTC")
            ),
            "sequence": pl.Series([trade[1] for trade in trades], dtype=pl.Int64),
            "price": pl.Series([trade[2] * unit for trade in trades], dtype=price),
            "quantity": pl.Series([trade[3] * unit for trade in trades], dtype=quantity),
            "quote_volume": pl.Series([trade[2] * trade[3] * unit * unit for trade in trades], dtype=quote),
            "trade_kind": ["block" if trade[2] % 7 == 0 else "rpi" for trade in trades],
            "match_count": pl.Series([1 + trade[1] % 3 for trade in trades], dtype=pl.Int64),
            "side": ["BUY" if trade[3] % 3 else "SELL" for trade in trades],
            "part": [trade[4] for trade in trades],
        }
    )


def by_hand(rows: pl.DataFrame, seconds: int) -> list[tuple[object, ...]]:
    """The candles trade by trade, in plain Python."""
    found: dict[tuple[str, int], list[dict[str, object]]] = {}
    counted = rows.filter(pl.col("trade_kind") != "block")
    for row in counted.sort("timestamp", "sequence", "trade_id").iter_rows(named=True):
        start = int(row["timestamp"].timestamp()) // seconds * seconds
        found.setdefault((row["symbol"], start), []).append(row)
    return [
        (
            symbol,
            start,
            group[0]["price"],
            max(row["price"] for row in group),  # type: ignore[type-var]
            min(row["price"] for row in group),  # type: ignore[type-var]
            group[-1]["price"],
            sum(row["quantity"] for row in group),  # type: ignore[misc]
            sum(row["quote_volume"] for row in group),  # type: ignore[misc]
            sum(row["match_count"] for row in group),  # type: ignore[misc]
            *(sum(row["quantity"] for row in group if row["side"] == side) for side in ("BUY", "SELL")),  # type: ignore[misc]
        )
        for (symbol, start), group in sorted(found.items())
    ]


@given(st.lists(TRADE, min_size=1, max_size=40))
def test_parts_add_up(trades: list[tuple[int, int, int, int, int]]) -> None:
    rows = frame(trades)
    made = minute_candles(rows.clear())
    for part in range(4):
        made = merge_minutes(made, minute_candles(rows.filter(pl.col("part") == part)))
    for seconds in FRAMES:
        found = candles(made, seconds)
        assert [
            (row[1], int(row[2].timestamp()), *row[3:])
            for row in found.select("exchange", "symbol", "window_start", *NUMBERS).iter_rows()
        ] == by_hand(rows, seconds)


def test_a_spill_gives_back_every_row_once_and_a_trade_in_one_bucket(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "rows", 7)
    rows = pl.DataFrame({"trade_id": [str(number % 500) for number in range(2000)], "n": range(2000)})
    for piece in rows.iter_slices(130):
        spill.add(piece)
    buckets = [spill.read(number) for number in range(7)]
    assert_frame_equal(pl.concat(buckets).sort("n"), rows)
    ids = [set(bucket["trade_id"]) for bucket in buckets]
    assert sum(len(some) for some in ids) == 500


@pytest.mark.parametrize("merge_rows", [1, 40_000])
def test_minutes_on_disk_are_those_of_all_trades(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, merge_rows: int
) -> None:
    """Of many symbols, added in parts that share minutes, whenever the parts are merged."""
    monkeypatch.setattr("offload.difference.candles._MERGE_ROWS", merge_rows)
    numbers = range(3000)
    rows = frame(
        [(number * 7 % 400, number * 13 % 5, 1 + number % 17, 1 + number % 3, number % 4) for number in numbers]
    )
    rows = rows.with_columns(pl.Series("symbol", [f"S{number % 70}" for number in numbers]))
    made = MinuteSpill(tmp_path / "minutes", rows)
    for part in range(4):
        made.add(rows.filter(pl.col("part") == part))
    groups = list(made.groups())
    assert sum(group["symbol"].n_unique() for group in groups) == 70
    for seconds in FRAMES:
        found = pl.concat(candles(group, seconds) for group in groups).sort("symbol", "window_start")
        assert [
            (row[1], int(row[2].timestamp()), *row[3:])
            for row in found.select("exchange", "symbol", "window_start", *NUMBERS).iter_rows()
        ] == by_hand(rows, seconds)
