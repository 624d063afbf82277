"""Invariant: always on, the gauges say what of the last hours has not reached its one end, until it has."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from prometheus_client import CollectorRegistry

from config.settings import Settings
from offload.clickhouse.client import ClickHouseHttp
from offload.proof.completeness import Completeness
from tests.offload.hot_tables import ARRIVAL, HotTables, raw_rows, read_tape, silver_rows

END = ARRIVAL + timedelta(hours=3)


@pytest.fixture
def trades(tape: Path) -> pl.DataFrame:
    """Three hours of arrival."""
    return read_tape(tape).head(3000).sort("arrived")


class Gauges:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.completeness = Completeness(["binance"], self.registry)

    def of(self, exchange: str) -> dict[str, float | None]:
        return {
            name: self.registry.get_sample_value(f"medallion_completeness_{name}_messages", {"exchange": exchange})
            for name in ("raw", "settled", "missing", "in_several")
        }


def test_what_is_missing_shows_until_it_is_there(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    gauges, store = Gauges(), ClickHouseHttp(settings)
    newest = trades.filter(pl.col("arrived") >= END - timedelta(hours=1)).height
    hot.insert("trades_raw", raw_rows(trades))
    # Two of the first hour are on their way, one of the newest hour is in Silver twice.
    hot.insert("silver_trades", silver_rows(trades.slice(2)))
    hot.insert("silver_trades", silver_rows(trades.tail(1)))
    broken = gauges.completeness.count(store, END + timedelta(minutes=5))
    assert {count.hour for count in broken} == {ARRIVAL, END - timedelta(hours=1)}
    assert gauges.of("binance") == {"raw": newest, "settled": newest - 1, "missing": 2, "in_several": 1}
    # An hour later the first hour is not the newest by far, and still counted, as it is not settled.
    later = END + timedelta(hours=1, minutes=5)
    gauges.completeness.count(store, later)
    assert gauges.of("binance") == {"raw": None, "settled": None, "missing": 2, "in_several": 1}
    hot.insert("silver_trades", silver_rows(trades.head(2)))
    hot.client.command(
        f"DELETE FROM silver_trades WHERE raw_offset = {trades['offset'][-1]}", settings={"mutations_sync": 1}
    )
    hot.insert("silver_trades", silver_rows(trades.tail(1)))
    assert gauges.completeness.count(store, later) == []
    assert gauges.of("binance")["missing"] is None
    assert gauges.registry.get_sample_value("medallion_completeness_counted_timestamp_seconds") == later.timestamp()


def test_an_exchange_that_nobody_listed_is_one_series(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    gauges = Gauges()
    newest = trades.filter(pl.col("arrived") >= END - timedelta(hours=1))
    names = [f"garbage {number % 3}" for number in range(newest.height)]
    hot.insert("trades_raw", raw_rows(newest.with_columns(pl.Series("exchange", names))))
    gauges.completeness.count(ClickHouseHttp(settings), END + timedelta(minutes=5))
    assert gauges.of("other") == {"raw": newest.height, "settled": 0, "missing": newest.height, "in_several": 0}
    assert gauges.of("garbage 1")["raw"] is None


def test_what_is_older_than_a_day_is_left_to_the_command(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    gauges = Gauges()
    hot.insert("trades_raw", raw_rows(trades))
    store = ClickHouseHttp(settings)
    assert gauges.completeness.count(store, END + timedelta(minutes=5))
    assert gauges.completeness.count(store, END + timedelta(hours=24)) == []
