"""Slices cover time without hole or overlap, and their names lead back to them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offload.hourly.arrival_hours import is_due
from offload.tables.cold_tables import TABLES, ColdTable
from offload.tables.slice_records import SliceRecord, ledger_properties, read_ledger
from offload.tables.slices import DAY_US, HOUR_US, gold_slices, hour, instant, micros, parse_gold_id, parse_hour_id

TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2199, 12, 1), timezones=st.just(UTC))  # noqa: DTZ001 - naive bounds
GOLD = [cold for cold in TABLES if cold.layer == "gold"]


@given(TIMES)
def test_times_are_exact(moment: datetime) -> None:
    assert instant(micros(moment)) == moment


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        micros(datetime(2026, 1, 1))  # noqa: DTZ001 - what is refused


@given(TIMES)
def test_an_hour_is_found_by_its_name(moment: datetime) -> None:
    part = hour(micros(moment) // HOUR_US * HOUR_US)
    assert parse_hour_id(part.id) == part
    assert part.from_us <= micros(moment) < part.to_us


@given(TIMES, st.sampled_from(GOLD), st.sampled_from(["binance", "bybit_linear"]))
def test_a_gold_slice_holds_its_day_and_touches_the_next(moment: datetime, cold: ColdTable, exchange: str) -> None:
    day_us = micros(moment) // DAY_US * DAY_US
    (part,) = gold_slices(cold, [(exchange, day_us)])
    assert part.from_us <= day_us < part.to_us
    assert parse_gold_id(cold, part.id) == part
    (following,) = gold_slices(cold, [(exchange, part.to_us)])
    assert following.from_us == part.to_us


RECORD = SliceRecord(attempt="a", rows=10, measure=10, until_us=0, final=True)


def test_a_window_is_due_when_new_open_grown_or_asked_for() -> None:
    assert is_due(None, 1, again=False)
    assert is_due(RECORD, 11, again=False)
    assert is_due(RECORD.model_copy(update={"final": False}), 10, again=False)
    assert is_due(RECORD, 10, again=True)
    assert not is_due(RECORD, 10, again=False)
    assert not is_due(RECORD, 9, again=False)


def test_the_ledger_ignores_other_properties() -> None:
    properties = {**ledger_properties({"2026-01-01T00": RECORD}), "comment": "x"}
    assert read_ledger(properties) == {"2026-01-01T00": RECORD}
