"""Amounts keep every digit; windows cover time without a gap."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.market_data.amounts import amount, average, change, percent
from serving.market_data.intervals import INTERVALS
from serving.rest.endpoints import first_id, trade_id

AMOUNTS = st.decimals(min_value=0, max_value=10**18, places=18)
POLARS = {code: code.replace("M", "mo") for code in INTERVALS}


@given(AMOUNTS)
def test_an_amount_keeps_its_value_and_has_eight_decimals(value: Decimal) -> None:
    text = amount(f"{value:f}")
    assert Decimal(text) == value
    assert len(text.partition(".")[2]) >= 8
    assert not text.partition(".")[2][8:].endswith("0")


@pytest.mark.parametrize(("given_", "text"), [("27000.5", "27000.50000000"), ("0", "0.00000000"), ("3", "3.00000000")])
def test_an_amount_looks_as_binances(given_: str, text: str) -> None:
    assert amount(given_) == text


def test_changes_are_exact_and_ratios_rounded() -> None:
    assert change("0.000000000000000001", "1") == "-0.999999999999999999"
    assert percent("3", "2") == "50.000"
    assert percent("2", "3") == "-33.333"
    assert percent("1", "0") == "0.000"
    assert average("2", "3") == "0.66666667"
    assert average("0", "0") == "0.00000000"


@given(st.integers(min_value=0, max_value=7_000_000_000), st.sampled_from(sorted(INTERVALS)))
def test_a_moment_is_in_the_window_that_polars_gives_it(second: int, code: str) -> None:
    interval = INTERVALS[code]
    start = interval.start(second)
    moment = pl.Series([datetime.fromtimestamp(second, UTC).replace(tzinfo=None)])
    assert start == moment.dt.truncate(POLARS[code]).dt.epoch("s")[0]
    assert start <= second < interval.end(start)
    assert interval.start(interval.end(start)) == interval.end(start)


@given(
    st.integers(min_value=100_000, max_value=7_000_000_000),
    st.sampled_from(sorted(INTERVALS)),
    st.integers(min_value=-720, max_value=840),
)
def test_a_window_of_a_time_zone_is_that_of_its_clocks(second: int, code: str, minutes: int) -> None:
    plain, east = INTERVALS[code], minutes * 60
    zoned = plain.in_zone(east)
    start = zoned.start(second)
    assert start == plain.start(second + east) - east
    assert zoned.end(start) == plain.end(start + east) - east
    assert start % zoned.base.seconds == zoned.end(start) % zoned.base.seconds == 0


@pytest.mark.parametrize(
    ("text", "identity"),
    [("7", 7), ("007", "007"), ("", ""), ("9" * 30, "9" * 30), ("b0c8-1", "b0c8-1"), ("\u0667", "\u0667")],
)
def test_an_id_is_a_number_only_where_no_digit_is_lost(text: str, identity: int | str) -> None:
    assert trade_id(text) == identity


def test_a_numeric_id_is_that_of_the_last_match() -> None:
    assert first_id("10", 3) == 8
    assert first_id("1000000000000000001", 3) == 999_999_999_999_999_999
    assert first_id("18446744073709551615", 3) == "18446744073709551613"
    assert (first_id("a", 3), first_id("0103", 1)) == ("a", "0103")
