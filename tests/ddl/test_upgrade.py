"""Invariant: `ddl apply` brings a database of any earlier version up to date, and loses no row of it.

`release_0_1` holds the migrations as version 0.1 shipped them, `before_0027` those files that changed when the candle
states of all frames came into one table.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from config.settings import Settings
from ddl.layers import load_layers
from ddl.plan import State
from ddl.render import render
from ddl.runner import apply, status
from ddl.statements import MigrationStatement, ObjectKind
from schemas.kafka_time import bounded_ms
from tests.ddl.conftest import core
from tests.ddl.engine import Engine, EngineError
from tests.ddl.feed import envelope, publish

TRADES = 1_000
# The stand-in of a Kafka table keeps its rows only until it is made again, by the migration 0022.
SINK = "bronze_trades_sink"
RELEASED = Path(__file__).with_name("release_0_1")
BEFORE_0027 = Path(__file__).with_name("before_0027")
# The first version with data to keep, all of 0.1, and the last with a table of states a frame.
EARLIER = [
    pytest.param("0011_staged", marks=pytest.mark.nightly),
    "0021_pipeline_latency",
    pytest.param("0026_kafka_time", marks=pytest.mark.nightly),
]
# Kafka times as they were stored before they were bounded (ms): one of today, one in µs, a negative one, the year 9999.
UNBOUNDED = [1_795_860_000_000, 1_795_860_000_000_001, -5, 253_402_300_800_000]
CANDLE = (
    "exchange, symbol, window_start, open, high, low, close, volume, quote_volume, trade_count, buy_volume, sell_volume"
)


def as_of(settings: Settings, newest: str) -> list[MigrationStatement]:
    """The migrations as they were when `newest` was the last."""
    if newest < "0022":
        return [statement for statement in render(settings, RELEASED) if statement.migration <= newest]
    old = render(settings, BEFORE_0027)
    changed = {statement.migration for statement in old}
    # These views read the one table.
    others = [
        statement
        for statement in render(settings)
        if statement.migration <= newest
        and statement.migration not in changed
        and statement.object not in {"latest_prices", "latest_prices_live", "candles_as_text"}
    ]
    return sorted(
        [*old, *others], key=lambda one: (one.kind in {ObjectKind.VIEW, ObjectKind.MATERIALIZED_VIEW}, one.migration)
    )


@pytest.mark.parametrize("newest", EARLIER)
def test_an_earlier_database_is_brought_up_to_date(engine: Engine, newest: str) -> None:
    settings = Settings(clickhouse_database=f"since_{newest}")
    database = settings.clickhouse_database
    old = as_of(settings, newest)
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
    if newest < "0026":
        store_unbounded(engine, database)
    before = rows(engine, database)
    assert before[0] == [[TRADES, TRADES * (TRADES + 1) // 2]]
    assert apply(engine, settings)
    assert rows(engine, database) == before
    if newest < "0026":
        assert_bounded(engine, database)
    kinds = f"SELECT DISTINCT trade_kind, match_count FROM {database}.silver_trades"
    assert engine.execute(kinds) == [["market", 1]]
    assert {found.state for found in status(engine, settings)} == {State.APPLIED}
    assert apply(engine, settings) == []
    publish(engine, settings, [envelope(trade_id="new", kind="block", matches="2")])
    old_row = [("old", "", "")]
    in_sink = old_row if newest > "0022" else []
    for table, kept in (("trades_raw", old_row), ("bronze_trades", old_row), (SINK, in_sink)):
        found = engine.frame(f"SELECT trade_id, kind, matches FROM {database}.{table} ORDER BY trade_id DESC")
        assert found.cast(pl.String).rows() == [*kept, ("new", "block", "2")], table
    assert_twins_keep_the_structure_of_their_tables(engine, database)


def store_unbounded(engine: Engine, database: str) -> None:
    for table in ("duplicate_trades", "dlq_trades_log"):
        for offset, time in enumerate(UNBOUNDED):
            engine.execute(
                f"INSERT INTO {database}.{table} (raw_topic, raw_offset, published_at)"
                f" SELECT 't', {offset}, reinterpret(toInt64({time}), 'DateTime64(3, \\'UTC\\')')"
            )


def assert_bounded(engine: Engine, database: str) -> None:
    """Rows of an earlier version come to their right day."""
    for table in ("duplicate_trades", "dlq_trades_log"):
        sql = f"SELECT raw_offset, toString(toUnixTimestamp64Milli(published_at)) FROM {database}.{table} FINAL"
        expected = [[offset, str(bounded_ms(time))] for offset, time in enumerate(UNBOUNDED)]
        assert engine.execute(f"{sql} WHERE raw_topic = 't' ORDER BY raw_offset") == expected


def test_twins_keep_the_structure_of_their_tables(engine: Engine, warehouse: Settings) -> None:
    """Else no partition can be moved to them or replaced by theirs. (`…_exact_leaving` are views.)"""
    assert_twins_keep_the_structure_of_their_tables(engine, warehouse.clickhouse_database)


# Its sibling: test_an_earlier_database_is_brought_up_to_date.
@pytest.mark.nightly
def test_an_upgraded_database_counts_as_a_new_one_does(engine: Engine) -> None:
    """An insert that is half done is completed first. Candles of trades from before stay; those of later trades leave
    out what was no market trade.
    """
    settings = Settings(clickhouse_database="upgraded_counts")
    apply(engine, settings, render(settings, RELEASED))
    insert(engine, settings, "one", 100)
    # Rows and token are gone, as if the insert had not come so far.
    engine.execute("TRUNCATE TABLE upgraded_counts.gold_ohlcv_5m_state")
    assert counted(engine, settings) == [100, 100, 0, 100, 100, 100, 100]
    with pytest.raises(EngineError, match="half done"):
        apply(engine, settings, core(settings))
    insert(engine, settings, "one", 100)
    assert counted(engine, settings) == [100] * 7
    trades = (
        f"INSERT INTO {settings.clickhouse_database}.silver_trades (exchange, symbol, trade_id, price, quantity,"
        " quote_volume, timestamp, side, validated_at{names}) VALUES ('binance', 'BTCUSDT', '{number}', {price}, 1,"
        " {price}, 1760000000, 'BUY', 1760010000{values})"
    )
    engine.execute(trades.format(names="", values="", number=1, price=10))
    apply(engine, settings, core(settings))
    more = ((2, 11, "market", 3), (3, 99, "block", 1), (4, 12, "rpi", 1))
    for number, price, kind, matches in more:
        engine.execute(
            trades.format(
                names=", trade_kind, match_count", values=f", '{kind}', {matches}", number=number, price=price
            )
        )
    candle = (
        f"SELECT toFloat64(high), toFloat64(volume), trade_count FROM {settings.clickhouse_database}.gold_ohlcv_1d"
        " WHERE window_start < '2025-10-10'"
    )
    assert engine.execute(candle) == [[12.0, 3.0, 5]]


def assert_twins_keep_the_structure_of_their_tables(engine: Engine, database: str) -> None:
    found = engine.frame(
        "SELECT table, arrayStringConcat(groupArray(concat(name, type, default_expression, compression_codec)))"
        f" AS columns FROM (SELECT * FROM system.columns WHERE database = '{database}' ORDER BY table, position)"
        " GROUP BY table"
    )
    keys = engine.frame(f"SELECT name AS table, sorting_key FROM system.tables WHERE database = '{database}'")
    shapes = {
        row["table"]: (row["columns"], row["sorting_key"])
        for row in found.join(keys, on="table").cast(pl.String).to_dicts()
    }
    twins = [name for name in shapes if name.endswith(("_leaving", "_staged")) and "_exact_" not in name]
    assert len(twins) >= 8
    for twin in twins:
        assert shapes[twin] == shapes[twin.removesuffix("_leaving").removesuffix("_staged")], twin


def rows(engine: Engine, database: str) -> list[object]:
    trades = engine.execute(f"SELECT count(), toInt64(sum(quote_volume)) FROM {database}.silver_trades")
    # The columns that the views had in 0.1; all numbers here are whole, so a double is exact.
    candles = [
        engine.execute(f"SELECT {CANDLE}, updated_at FROM {database}.{frame.view} ORDER BY ALL")
        for frame in load_layers().timeframes
    ]
    assert [sum(int(row[9]) for row in rows) for rows in candles] == [TRADES] * len(candles)
    return [trades, candles]


class Dying:
    """A client that dies right after the first statement with `text` was done, before the journal has it."""

    def __init__(self, engine: Engine, text: str) -> None:
        self._engine, self._text = engine, text

    def execute(self, query: str) -> Sequence[Sequence[Any]]:
        answer = self._engine.execute(query)
        if self._text in query and not query.lstrip().startswith("INSERT INTO") and "schema_migrations" not in query:
            raise EngineError("died")
        return answer


def insert(engine: Engine, settings: Settings, token: str, first: int) -> None:
    """A hundred trades of now, as a worker inserts them."""
    engine.execute(
        f"INSERT INTO {settings.clickhouse_database}.silver_trades"
        " (exchange, symbol, trade_id, price, quantity, quote_volume, timestamp, side, insert_token)"
        f" SELECT 'binance', 'BTCUSDT', toString({first} + number), 1 + number, 1, 1 + number,"
        f" now64(6, 'UTC') - number, 'SELL', '{token}' FROM numbers(100)"
        f" SETTINGS insert_deduplication_token = '{token}', deduplicate_insert_select = 'force_enable',"
        " deduplicate_blocks_in_dependent_materialized_views = 1, max_threads = 1"
    )


def counted(engine: Engine, settings: Settings) -> list[int]:
    """Trades in Silver, then in the candles of each frame."""
    names = [
        "count() FROM {}.silver_trades",
        *(f"sum(trade_count) FROM {{}}.{f.view}" for f in load_layers().timeframes),
    ]
    return [int(engine.execute("SELECT " + name.format(settings.clickhouse_database))[0][0]) for name in names]


# Its siblings: test_an_earlier_database_is_brought_up_to_date makes the same move,
# test_an_upgraded_database_counts_as_a_new_one_does completes an insert that was half done, and
# test_runner.py::test_an_interrupted_apply_is_completed cuts the runner off.
@pytest.mark.nightly
def test_gold_moves_into_one_table_and_no_insert_is_lost_or_counted_twice(engine: Engine) -> None:
    """Killed after the copy, after the new view and after a drop: until the end Silver takes nothing."""
    settings = Settings(clickhouse_database="gold_moves")
    apply(engine, settings, as_of(settings, "0026_kafka_time"))
    insert(engine, settings, "before", 0)
    for text in ("CREATE OR REPLACE TABLE", "CREATE MATERIALIZED VIEW IF NOT EXISTS gold_moves.gold_ohlcv_mv"):
        with pytest.raises(EngineError, match="died"):
            apply(Dying(engine, text), settings, core(settings))
        with pytest.raises(EngineError, match="publishing"):
            insert(engine, settings, "meanwhile", 100)
    with pytest.raises(EngineError, match="died"):
        apply(Dying(engine, "DROP TABLE IF EXISTS gold_moves.gold_ohlcv_5m_state "), settings, core(settings))
    assert counted(engine, settings) == [100] * 7
    for _ in range(2):
        insert(engine, settings, "meanwhile", 100)
    assert apply(engine, settings, core(settings))
    assert counted(engine, settings) == [200] * 7
    assert {found.state for found in status(engine, settings, core(settings))} == {State.APPLIED}
    assert apply(engine, settings, core(settings)) == []
