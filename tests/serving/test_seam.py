"""Candles and their trades are the same before and after their hot rows have left, wherever a question begins."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import requests

from config.settings import Settings
from offload.clickhouse.tiers import Tiers
from offload.retention.gate import close_gate
from offload.run import run
from serving.market_data.hot_start import period_end
from tests.offload.hot_tables import HotTables, read_tape, silver_rows
from tests.serving.running import running

# The first day's candles up to 30m and trades may leave, the second day's not yet.
BETWEEN = datetime(2026, 2, 20, tzinfo=UTC)
MONDAY_MS = 1_722_816_000_000  # 2024-08-05, the week of the recording


@pytest.fixture(scope="module")
def trades(tape: Path) -> pl.DataFrame:
    """Every fourth trade of two days of event time; those of the second arrived a month after those of the first."""
    second = pl.col("time") >= datetime(2024, 8, 9, tzinfo=UTC)
    moved = pl.when(second).then(pl.col("arrived") + timedelta(days=31)).otherwise(pl.col("arrived"))
    return read_tape(tape).gather_every(4).with_columns(moved.alias("arrived"))


@pytest.fixture
def url(settings: Settings, hot: HotTables) -> Iterator[str]:
    del hot
    with running(settings) as address:
        yield address


def klines(url: str, **given: Any) -> list[list[Any]]:
    asked = {"symbol": "BTCUSDT", "interval": "1m", "limit": 1_000} | given
    answer = requests.get(f"{url}/api/v3/klines", params=asked, timeout=60)
    assert answer.status_code == 200, answer.text
    found: list[list[Any]] = answer.json()
    return found


def origin(url: str, opened: int) -> Any:
    asked = {"exchange": "binance", "symbol": "BTCUSDT", "interval": "1m", "openTime": opened}
    return requests.get(f"{url}/v1/origin", params=asked, timeout=60).json()


def assert_no_seam(url: str, trades: pl.DataFrame) -> None:
    """Every minute's open time and number of trades are polars', from whichever side they are asked for."""
    market = silver_rows(trades.filter(pl.col("symbol") == "BTCUSDT")).sort("timestamp", "sequence")
    minutes = market.group_by(pl.col("timestamp").dt.truncate("1m").dt.epoch("ms"), maintain_order=True)
    expected = [tuple(row) for row in minutes.agg(pl.len(), pl.col("price").last().cast(pl.Float64)).iter_rows()]

    def shown(**given: Any) -> list[tuple[int, int, float]]:
        return [(row[0], row[8], float(row[4])) for row in klines(url, **given)]

    assert shown() == expected
    middle = len(expected) // 2
    assert shown(limit=middle + 2) == expected[-middle - 2 :]
    assert shown(limit=3) == expected[-3:]
    assert shown(startTime=expected[1][0], limit=middle + 2) == expected[1 : middle + 3]
    assert shown(endTime=expected[middle + 1][0], limit=4) == expected[middle - 2 : middle + 2]
    assert shown(endTime=expected[1][0]) == expected[:2]
    (week,) = klines(url, interval="1w")
    assert (week[0], week[8]) == (MONDAY_MS, market.height)
    bought = market.filter(pl.col("side") == "BUY")["quote_volume"].sum()
    assert float(week[10]) == pytest.approx(float(bought), rel=1e-15)
    first = market.filter(pl.col("timestamp").dt.truncate("1m").dt.epoch("ms") == expected[0][0])
    assert [one["trade_id"] for one in origin(url, expected[0][0])["trades"]] == first["trade_id"].to_list()[:200]


def test_no_candle_is_lost_or_doubled_when_days_leave(
    url: str, settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    hot.insert("silver_trades", silver_rows(trades))
    assert_no_seam(url, trades)
    run(Tiers.open(settings), layers=("silver", "gold"))
    close_gate(Tiers.open(settings), drop=True, tables=["silver_trades", "gold_ohlcv_state"], now=BETWEEN)
    assert 0 < hot.count("silver_trades") < trades.height
    assert_no_seam(url, trades)  # one day is hot, one cold


@pytest.mark.parametrize(
    ("partition", "end"),
    [(20_240_229, datetime(2024, 3, 1, tzinfo=UTC)), (202_412, datetime(2025, 1, 1, tzinfo=UTC)),
     (202_401, datetime(2024, 2, 1, tzinfo=UTC))],
)  # fmt: skip
def test_a_partition_ends_where_its_day_or_month_ends(partition: int, end: datetime) -> None:
    assert period_end(partition) == end.timestamp()
