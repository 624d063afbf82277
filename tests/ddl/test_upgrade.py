"""Invariant: `ddl apply` brings a database of any earlier set of migrations up to date, and loses no row of it."""

from __future__ import annotations

import pytest

from config.settings import Settings
from ddl.plan import State
from ddl.render import render
from ddl.runner import apply, status
from tests.ddl.engine import Engine

TRADES = 1_000
MIGRATIONS = sorted({statement.migration for statement in render(Settings())})
# The first release with data to keep, and the one before the newest.
EARLIER = ["0011_staged", MIGRATIONS[-2]]


@pytest.mark.parametrize("newest", EARLIER)
def test_an_earlier_database_is_brought_up_to_date(engine: Engine, newest: str) -> None:
    settings = Settings(clickhouse_database=f"since_{newest}")
    database = settings.clickhouse_database
    old = [statement for statement in render(settings) if statement.migration <= newest]
    assert {statement.migration for statement in old} < set(MIGRATIONS)
    apply(engine, settings, old)
    engine.execute(
        f"INSERT INTO {database}.silver_trades"
        " (exchange, symbol, trade_id, price, quantity, quote_volume, timestamp, side, validated_at)"
        " SELECT 'binance', 'BTCUSDT', toString(number), 1 + number, 1, 1 + number,"
        " toDateTime64(1760000000 + number, 6, 'UTC'), 'BUY', toDateTime64(1760010000, 6, 'UTC')"
        f" FROM numbers({TRADES})"
    )
    before = rows(engine, database)
    assert before[0] == [[TRADES, TRADES * (TRADES + 1) // 2]]
    applied = apply(engine, settings)
    assert {statement.migration for statement in render(settings)} - {statement.migration for statement in old}
    assert applied
    assert rows(engine, database) == before
    assert {found.state for found in status(engine, settings)} == {State.APPLIED}
    assert apply(engine, settings) == []


def rows(engine: Engine, database: str) -> list[object]:
    trades = engine.execute(f"SELECT count(), toInt64(sum(quote_volume)) FROM {database}.silver_trades")
    candles = engine.execute(f"SELECT * FROM {database}.gold_ohlcv_1m ORDER BY ALL")
    assert sum(int(row[9]) for row in candles) == TRADES
    return [trades, candles]
