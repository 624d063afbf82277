"""What the page says of a candle: open, back-filled, incomplete, pinned."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
import requests

from config.settings import Settings
from offload.clickhouse.client import ClickHouseHttp
from offload.clickhouse.tiers import Tiers
from offload.pins import Pins
from offload.run import run
from offload.tables.catalog import ColdTier
from tests.offload.hot_tables import HotTables, silver_rows
from tests.serving.running import running

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
STATES = ("isClosed", "isComplete", "isBackfilled", "isPinned")


def trade(number: int, at: datetime, arrived: datetime) -> dict[str, Any]:
    market = {"exchange": "kraken", "symbol": "BTCUSD", "trade_id": f"{number}", "side": "BUY", "offset": number}
    return market | {"price": f"{100 + number}.5", "qty": "0.25", "time": at, "arrived": arrived}


def insert(hot: HotTables, *trades: dict[str, Any]) -> None:
    times = {"time": pl.Datetime("us", "UTC"), "arrived": pl.Datetime("us", "UTC"), "offset": pl.UInt64}
    hot.insert("silver_trades", silver_rows(pl.DataFrame(list(trades), schema_overrides=times)))


@pytest.fixture
def url(settings: Settings, hot: HotTables) -> Iterator[str]:
    del hot
    with running(settings) as address:
        yield address


def candles(url: str, **given: Any) -> list[dict[str, Any]]:
    asked = {"exchange": "kraken", "symbol": "BTCUSD", "interval": "1m"} | given
    answer = requests.get(f"{url}/v1/candles", params=asked, timeout=60)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["candles"]
    return found


def states(url: str, **given: Any) -> list[tuple[Any, ...]]:
    return [tuple(one[name] for name in STATES) for one in candles(url, **given)]


def test_each_state_is_told_from_the_others(url: str, hot: HotTables) -> None:
    first, second, third = (NOW - timedelta(minutes=minutes) for minutes in (30, 20, 10))
    in_time, late = timedelta(seconds=5), timedelta(minutes=9)
    future = NOW + timedelta(days=1)
    insert(
        hot,
        trade(1, first, first + in_time),
        trade(2, second, second + late),
        trade(3, third, third + in_time),
        trade(4, future, NOW),
    )
    gap = {"exchange": "kraken", "symbol": "BTCUSD", "exchange_symbol": "BTC/USD", "from_id": "8", "to_id": "9"}
    times = {"from_time": third, "to_time": third + in_time, "detected_at": third, "noted_at": third}
    numbers = pl.DataFrame([{**gap, "state": "open", **times}]).with_columns(
        pl.lit(2, pl.UInt64).alias("ids_missing"), pl.lit(2, pl.UInt64).alias("ids_open")
    )
    hot.insert("producer_gaps_log", numbers)
    assert states(url) == [
        (True, True, False, False),
        (True, True, True, False),
        (True, False, False, False),
        (False, True, False, False),
    ]
    klines = requests.get(f"{url}/kraken/api/v3/klines?symbol=BTCUSD&interval=1m", timeout=30).json()
    names = ("openTime", "open", "high", "low", "close", "volume", "closeTime", "trades")
    assert [[one[name] for name in names] for one in candles(url)] == [[*row[:7], row[8]] for row in klines]


@pytest.mark.nightly
def test_a_candle_is_pinned_while_it_is_as_the_pin_has_it(url: str, settings: Settings, hot: HotTables) -> None:
    day = NOW - timedelta(days=2)
    insert(hot, trade(1, day, day), trade(2, day + timedelta(minutes=1), day))
    run(Tiers.open(settings), layers=("silver", "gold"))
    Pins(ColdTier.open(settings)).create("backtest")
    Pins(ColdTier.open(settings)).publish("backtest", ClickHouseHttp(settings))
    insert(hot, trade(3, day + timedelta(minutes=1), NOW), trade(4, day + timedelta(minutes=2), NOW))
    assert requests.get(f"{url}/v1/pins", timeout=30).json() == {"pins": ["backtest"]}
    assert [one[3] for one in states(url, pin="backtest")] == [True, False, False]
    assert [one[3] for one in states(url)] == [False, False, False]
    refused = requests.get(f"{url}/v1/candles?exchange=kraken&symbol=BTCUSD&interval=1m&pin=nosuch", timeout=30)
    assert (refused.status_code, refused.json()["code"]) == (400, -1130)
