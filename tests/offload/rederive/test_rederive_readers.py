"""Who reads while a day is published sees the old version or the new one in every table of one query, and no gap."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from config.settings import Settings
from offload.clickhouse.client import ClickHouseHttp
from offload.clickhouse.tiers import Tiers
from offload.rederive.run import rederive
from offload.retention.union_views import mark_cold
from offload.run import run
from offload.tables.cold_tables import BY_NAME
from tests.offload.hot_tables import HotTables, of_one_hour, read_tape
from tests.offload.rederive.rederiving import (
    FROM,
    HIGH,
    LOW,
    Reader,
    assert_is,
    day_of,
    dead_letters,
    fill,
    limited,
    within,
)

# The fast tier has reader of a publication: test_rederive.py::test_a_changed_limit_is_followed.
pytestmark = pytest.mark.nightly
DAY_AFTER = FROM + timedelta(days=1)


@pytest.fixture
def posted(settings: Settings, brokers: str) -> Settings:
    """The settings with a broker for the dead letters."""
    return settings.model_copy(update={"kafka_bootstrap_servers": brokers})


@pytest.fixture
def trades(tape: Path) -> pl.DataFrame:
    return of_one_hour(read_tape(tape).gather_every(8))


def test_silver_and_all_candles_switch_at_once(
    posted: Settings, hot: HotTables, trades: pl.DataFrame, tmp_path: Path
) -> None:
    fill(hot, trades, HIGH)
    dead_letters(hot, trades, HIGH)
    run(Tiers.open(posted))
    low, high = day_of(within(trades, LOW)), day_of(within(trades, HIGH))
    assert low != high
    with Reader(hot) as reader:
        rederive(Tiers.open(limited(posted, tmp_path, LOW)), FROM, DAY_AFTER, exchange="binance")
    assert not reader.failed, reader.failed[:3]
    assert {value for answer in reader.seen for value in answer} == {low, high}
    mixed = [answer for answer in reader.seen if len(set(answer)) > 1]
    assert not mixed, f"{len(mixed)} of {len(reader.seen)} queries saw a mixture: {mixed[:3]}"
    assert_is(hot, posted, within(trades, LOW))


def test_candles_switch_at_once_where_silver_is_not_hot_any_more(
    posted: Settings, hot: HotTables, trades: pl.DataFrame, tmp_path: Path
) -> None:
    fill(hot, trades, HIGH)
    run(Tiers.open(posted))
    for day in ("20240808", "20240809"):
        mark_cold(ClickHouseHttp(posted), [BY_NAME["silver_trades"]], day, 0)
        hot.client.command(f"ALTER TABLE silver_trades DROP PARTITION ID '{day}'")
    low, high = day_of(within(trades, LOW)), day_of(within(trades, HIGH))
    with Reader(hot) as reader:
        for limit in (LOW, HIGH):
            rederive(Tiers.open(limited(posted, tmp_path, limit)), FROM, DAY_AFTER, exchange="binance")
    assert not reader.failed, reader.failed[:3]
    assert {answer[0] for answer in reader.seen} == {(0, Decimal(0))}
    candles = [answer[1:] for answer in reader.seen]
    assert {value for answer in candles for value in answer} == {low, high}
    mixed = [answer for answer in candles if len(set(answer)) > 1]
    assert not mixed, f"{len(mixed)} of {len(candles)} queries saw a mixture: {mixed[:3]}"
    assert hot.count("silver_trades") == 0
