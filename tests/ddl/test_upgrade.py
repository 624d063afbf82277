"""Invariant: `ddl apply` brings a database of any earlier version up to date, and loses no row of it.

`release_0_1` holds the migrations as version 0.1 shipped them.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from config.settings import Settings
from ddl.plan import State
from ddl.render import render
from ddl.runner import apply, status
from tests.ddl.engine import Engine
from tests.ddl.feed import envelope, publish

TRADES = 1_000
# The stand-in of a Kafka table keeps its rows only until it is made again.
SINK = "bronze_trades_sink"
RELEASED = Path(__file__).with_name("release_0_1")
# The first version with data to keep, and all of 0.1.
EARLIER = ["0011_staged", "0021_pipeline_latency"]


@pytest.mark.parametrize("newest", EARLIER)
def test_an_earlier_database_is_brought_up_to_date(engine: Engine, newest: str) -> None:
    settings = Settings(clickhouse_database=f"since_{newest}")
    database = settings.clickhouse_database
    old = [statement for statement in render(settings, RELEASED) if statement.migration <= newest]
    assert newest in {statement.migration for statement in old}
    apply(engine, settings, old)
    engine.execute(
        f"INSERT INTO {database}.silver_trades"
        " (exchange, symbol, trade_id, price, quantity, quote_volume, timestamp, side, validated_at)"
        " SELECT 'binance', 'BTCUSDT', toString(number), 1 + number, 1, 1 + number,"
        " toDateTime64(1760000000 + number, 6, 'UTC'), 'BUY', toDateTime64(1760010000, 6, 'UTC')"
        f" FROM numbers({TRADES})"
    )
    publish(engine, settings, [envelope(trade_id="old")])
    before = rows(engine, database)
    assert before[0] == [[TRADES, TRADES * (TRADES + 1) // 2]]
    assert apply(engine, settings)
    assert rows(engine, database) == before
    kinds = f"SELECT DISTINCT trade_kind, match_count FROM {database}.silver_trades"
    assert engine.execute(kinds) == [["market", 1]]
    assert {found.state for found in status(engine, settings)} == {State.APPLIED}
    assert apply(engine, settings) == []
    publish(engine, settings, [envelope(trade_id="new", kind="block", matches="2")])
    for table, kept in (("trades_raw", [("old", "", "")]), ("bronze_trades", [("old", "", "")]), (SINK, [])):
        found = engine.frame(f"SELECT trade_id, kind, matches FROM {database}.{table} ORDER BY trade_id DESC")
        assert found.cast(pl.String).rows() == [*kept, ("new", "block", "2")], table


def test_an_upgraded_database_counts_as_a_new_one_does(engine: Engine) -> None:
    """Candles of trades from before stay; those of later trades leave out what was no market trade."""
    settings = Settings(clickhouse_database="upgraded_counts")
    apply(engine, settings, render(settings, RELEASED))
    trades = (
        f"INSERT INTO {settings.clickhouse_database}.silver_trades (exchange, symbol, trade_id, price, quantity,"
        " quote_volume, timestamp, side, validated_at{names}) VALUES ('binance', 'BTCUSDT', '{number}', {price}, 1,"
        " {price}, 1760000000, 'BUY', 1760010000{values})"
    )
    engine.execute(trades.format(names="", values="", number=1, price=10))
    apply(engine, settings)
    more = ((2, 11, "market", 3), (3, 99, "block", 1), (4, 12, "rpi", 1))
    for number, price, kind, matches in more:
        engine.execute(
            trades.format(
                names=", trade_kind, match_count", values=f", '{kind}', {matches}", number=number, price=price
            )
        )
    candle = f"SELECT toFloat64(high), toFloat64(volume), trade_count FROM {settings.clickhouse_database}.gold_ohlcv_1d"
    assert engine.execute(candle) == [[12.0, 3.0, 5]]


def test_twins_keep_the_structure_of_their_tables(engine: Engine) -> None:
    """Else no partition can be moved to them or replaced by theirs."""
    for name, old in (("twins_new", None), ("twins_old", RELEASED)):
        settings = Settings(clickhouse_database=name)
        if old:
            apply(engine, settings, render(settings, old))
        apply(engine, settings)
        found = engine.frame(
            "SELECT table, arrayStringConcat(groupArray(concat(name, type, default_expression, compression_codec)))"
            f" AS columns FROM (SELECT * FROM system.columns WHERE database = '{name}' ORDER BY table, position)"
            " GROUP BY table"
        )
        keys = engine.frame(f"SELECT name AS table, sorting_key FROM system.tables WHERE database = '{name}'")
        shapes = {
            row["table"]: (row["columns"], row["sorting_key"])
            for row in found.join(keys, on="table").cast(pl.String).to_dicts()
        }
        twins = [name for name in shapes if name.endswith(("_leaving", "_staged")) and not name.startswith("gold")]
        assert len(twins) >= 7
        for twin in twins:
            assert shapes[twin] == shapes[twin.removesuffix("_leaving").removesuffix("_staged")], twin


def rows(engine: Engine, database: str) -> list[object]:
    trades = engine.execute(f"SELECT count(), toInt64(sum(quote_volume)) FROM {database}.silver_trades")
    # The columns that the view had in 0.1; all numbers here are whole, so a double is exact.
    candles = engine.execute(
        "SELECT exchange, symbol, window_start, open, high, low, close, volume, quote_volume, trade_count, buy_volume,"
        f" sell_volume, updated_at FROM {database}.gold_ohlcv_1m ORDER BY ALL"
    )
    assert sum(int(row[9]) for row in candles) == TRADES
    return [trades, candles]
