"""Invariant: a whole tape agrees with the venue's candles in every cell; a fault is found, named and located."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import hypothesis
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from series.answer import Defect
from series.quality.causes import MEANINGS, Cause, Evidence, EvidenceTrade, Window
from series.quality.compare import CELLS, PRICES, compare
from series.quality.explain import explain
from series.quality.verdicts import differing_windows, verdicts_of
from tests.series.quality.tape import (
    MINUTE,
    PARTS_HEIGHT,
    added,
    candles,
    changed,
    missing,
    part,
    published,
    published_part,
    tape,
    window,
)

NO_GAPS = pa.table({"from_time": [], "to_time": [], "description": []})
NO_DEAD_LETTERS = pa.table({"timestamp": [], "trade_id": [], "description": []})
NEW_ID = "9999999999"
SYMBOLS = ("BTCUSDT", "ETHUSDT")


def checked(trades: pl.DataFrame, bars: pl.DataFrame, **more: Any) -> list[dict[str, Any]]:
    """The windows that are not equal. `trades`: what Silver holds; `bars`: what the venue published."""
    compared = compare(candles(trades).to_arrow(), bars.to_arrow())
    near = {start + step * MINUTE for start in differing_windows(compared) for step in (-1, 0, 1)}
    evidence = trades.filter(pl.col("timestamp").dt.truncate("1m").is_in(list(near)))
    found = verdicts_of(
        compared,
        evidence.to_arrow(),
        more.get("gaps", NO_GAPS),
        more.get("dead_letters", NO_DEAD_LETTERS),
        MINUTE,
        more.get("until", trades["timestamp"].max() + timedelta(hours=1)),
    )
    assert found.num_rows == compared.num_rows
    return [row for row in found.to_pylist() if row["result"] != "equal"]


def places(found: Sequence[dict[str, Any]], cause: Cause) -> list[Any]:
    """The windows that differ, if all of them have this cause."""
    assert {row["cause"] for row in found} == {cause.value}, [(row["cause"], row["detail"]) for row in found]
    return [row["window_start"] for row in found]


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_whole_tape_agrees_in_every_cell(symbol: str) -> None:
    trades = tape(symbol)
    compared = compare(candles(trades).to_arrow(), published(symbol).to_arrow())
    assert set(compared["result"].to_pylist()) == {"equal"}
    assert {row["compared"] for row in compared.to_pylist() if row["volume_ours"]} == {len(CELLS)}
    assert checked(trades, published(symbol)) == []


symbols = st.sampled_from(SYMBOLS)
# A fault of one trade costs as much as its tape is long.
rows = st.integers(0, PARTS_HEIGHT - 1)


@given(symbols, rows)
def test_a_missing_trade_is_found_and_located(symbol: str, row: int) -> None:
    trades = part(symbol)
    found = checked(missing(trades, row), published_part(symbol))
    assert places(found, Cause.MISSING_TRADE) == [window(trades["timestamp"][row])]
    assert f"{trades['quantity'][row].normalize():f} at {trades['price'][row].normalize():f}" in found[0]["detail"]
    assert "BUY" in found[0]["detail"] or not trades["is_buy"][row]
    # The recording's ids have holes of their own beside it; the ends of the tape have no neighbour.
    assert trades["trade_id"][row] in found[0]["trade_ids"] or not found[0]["trade_ids"]


@given(symbols, rows)
def test_a_doubled_trade_is_found_and_located(symbol: str, row: int) -> None:
    trades = part(symbol)
    found = checked(added(trades, row, NEW_ID), published_part(symbol))
    assert places(found, Cause.DOUBLED_TRADE) == [window(trades["timestamp"][row])]
    assert NEW_ID in found[0]["trade_ids"]


@given(symbols, rows)
def test_a_wrong_side_is_found_and_located(symbol: str, row: int) -> None:
    trades = part(symbol)
    found = checked(changed(trades, row, is_buy=~pl.col("is_buy")), published_part(symbol))
    assert places(found, Cause.WRONG_SIDE) == [window(trades["timestamp"][row])]
    assert trades["trade_id"][row] in found[0]["trade_ids"]
    assert found[0]["differing"] == ["buy_volume"]


@given(symbols, rows, st.sampled_from([-1, 1, 2]))
def test_a_trade_in_another_window_is_found_in_both(symbol: str, row: int, minutes: int) -> None:
    trades = part(symbol)
    start = window(trades["timestamp"][row])
    bars = published_part(symbol)
    if not bars["window_start"].min() <= start + minutes * MINUTE <= bars["window_start"].max():
        return
    found = checked(changed(trades, row, timestamp=pl.col("timestamp") + minutes * MINUTE), bars)
    assert places(found, Cause.SHIFTED_CLOCK) == sorted([start, start + minutes * MINUTE])
    assert all(one["trade_ids"] == [trades["trade_id"][row]] for one in found)


@hypothesis.settings(max_examples=hypothesis.settings().max_examples // 4)
@given(symbols, st.sampled_from([-3_000, -400, 400, 3_000]) | st.integers(-3_000, 3_000))
def test_a_clock_that_is_wrong_is_found_wherever_trades_change_their_window(symbol: str, ahead_ms: int) -> None:
    trades = tape(symbol)
    late = trades.with_columns(timestamp=pl.col("timestamp") + timedelta(milliseconds=ahead_ms))
    moved = trades.filter(trades["timestamp"].dt.truncate("1m") != late["timestamp"].dt.truncate("1m"))
    found = checked(late, published(symbol))
    touched = {window(moment) for moment in moved["timestamp"]}
    beside = MINUTE if ahead_ms > 0 else -MINUTE
    differ = [row for row in found if row["result"] != "no_bar"]
    first = published(symbol)["window_start"].min()
    expected = {start for start in touched | {start + beside for start in touched} if start >= first}
    assert {*(places(differ, Cause.SHIFTED_CLOCK) if differ else [])} == expected
    assert {one for row in found for one in row["trade_ids"]} == {*moved["trade_id"]}


@given(symbols, rows, st.booleans())
def test_a_trade_beside_the_book_is_found_and_located(symbol: str, row: int, venue_counts: bool) -> None:
    """One that the venue does not count, away from its prices; or one that the venue counts and we do not."""
    trades = part(symbol)
    if venue_counts:
        ours, named = (
            changed(trades, row, is_counted=pl.lit(False), trade_kind=pl.lit("block")),
            trades["trade_id"][row],
        )
    else:
        ours, named = added(trades, row, NEW_ID, price=pl.col("price") * 2, quantity=pl.lit(Decimal("7"))), NEW_ID
    found = checked(ours, published_part(symbol))
    assert places(found, Cause.OFF_BOOK_TRADE) == [window(trades["timestamp"][row])]
    assert found[0]["trade_ids"] == [named]


def lacking(row: int, **more: Any) -> list[dict[str, Any]]:
    return checked(missing(part(), row), published_part(), **more)


def test_what_is_known_to_be_missing_says_why() -> None:
    """A gap, a dead letter and a candle that is not finished explain what else would be a missing trade."""
    row = part().height // 2
    moment, trade_id = part()["timestamp"][row], part()["trade_id"][row]
    gaps = pa.table({"from_time": [moment - MINUTE], "to_time": [moment], "description": ["1 trade, unfillable"]})
    dead_letters = pa.table(
        {"timestamp": [moment], "trade_id": [trade_id], "description": ["price_above_limit: trade 1"]}
    )
    start = [window(moment)]
    assert places(lacking(row, gaps=gaps), Cause.GAP) == start
    found = lacking(row, dead_letters=dead_letters)
    assert places(found, Cause.REJECTED_TRADE) == start
    assert found[0]["trade_ids"] == [trade_id]
    assert places(lacking(row, until=moment), Cause.LATE) == start
    # A gap explains nothing that is too much.
    assert places(checked(added(part(), row, NEW_ID), published_part(), gaps=gaps), Cause.DOUBLED_TRADE) == start


def test_a_venue_that_writes_fewer_digits_rounds() -> None:
    bars = published_part().with_columns(quote_volume=pl.col("quote_volume").round(2), volume=pl.col("volume").round(3))
    found = checked(part(), bars)
    assert len(places(found, Cause.ROUNDING)) > 5
    assert {cell for row in found for cell in row["differing"]} == {"volume", "quote_volume"}


def test_a_venue_without_counts_is_compared_in_what_it_says() -> None:
    unknown = {
        name: pl.lit(None, published_part()[name].dtype) for name in ("trade_count", "quote_volume", "buy_volume")
    }
    bars = published_part().with_columns(**unknown)
    assert checked(part(), bars) == []
    found = checked(missing(part(), 50), bars)
    assert places(found, Cause.MISSING_TRADE) == [window(part()["timestamp"][50])]


def test_a_minute_that_one_side_lacks() -> None:
    start = window(part()["timestamp"][part().height // 2])
    bars = published_part()
    assert places(checked(part(), bars.filter(pl.col("window_start") != start)), Cause.NO_BAR) == [start]
    without = part().filter(pl.col("timestamp").dt.truncate("1m") != start)
    found = checked(without, bars)
    assert (places(found, Cause.MISSING_TRADE), found[0]["result"]) == ([start], "no_candle")


def test_amounts_of_any_length_are_exact() -> None:
    """Two trades that differ in the last of 35 digits: only one of them explains the difference."""
    amounts = [Decimal("12345678901234567.000000000000000001"), Decimal("12345678901234567.000000000000000002")]
    row = part().height // 2
    start = part()["timestamp"][row]
    trades = [
        EvidenceTrade(str(number), start, Decimal(1), amount, is_buy=True) for number, amount in enumerate(amounts)
    ]
    sums, prices = ("volume", "buy_volume", "quote_volume"), dict.fromkeys(PRICES, Decimal(1))
    both = Decimal("24691357802469134.000000000000000003")
    ours = {**prices, "trade_count": 2, **dict.fromkeys(sums, both)}
    theirs = {**prices, "trade_count": 1, **dict.fromkeys(sums, amounts[0])}
    found = explain([Window(window(start), ("volume",), ours, theirs)], Evidence(MINUTE, trades))
    assert [(one.cause, one.trade_ids) for one in found] == [(Cause.SURPLUS_TRADE, ("1",))]


def test_another_last_trade_is_a_question_of_order() -> None:
    bars = published_part().with_columns(close=pl.when(pl.int_range(pl.len()) == 3).then("low").otherwise("close"))
    assert places(checked(part(), bars), Cause.ORDER) == [published_part()["window_start"][3]]


def test_every_cause_and_reason_is_explained_to_the_reader(recordings: Path) -> None:
    root = recordings.parents[1]
    said = (root / "docs" / "series.md").read_text()
    assert set(MEANINGS) == set(Cause)
    assert all(f"| `{cause}` | " in said for cause in Cause)
    rules = (root / "ddl" / "_series.sql").read_text()
    reasons = {*re.findall(r", \('([a-z_]+)', ", rules), *re.findall(r", '([a-z_]+)'\) }}", rules), *Defect}
    assert {"missing", "contradicts", "row_unreadable"} < reasons
    assert all(f"`{reason}`" in said for reason in reasons)
