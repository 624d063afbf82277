"""Gold: the same trades give the same candles, in whatever order and however often they are sent."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context, Decimal
from itertools import count, pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.settings import Settings
from ddl.layers import STATE_TABLE, Timeframe, load_layers
from tests.ddl.conftest import make_warehouse
from tests.ddl.engine import Engine, EngineError

TIMEFRAMES = load_layers().timeframes
ONE_SECOND = 1_000_000
EXACT = Context(prec=100)
LATEST = 7_258_118_399 * ONE_SECOND
ANCHORS = (ONE_SECOND, 1_723_161_600 * ONE_SECOND, 1_709_164_800 * ONE_SECOND, 2**32 * ONE_SECOND, LATEST)
_exchanges = (f"exchange{number}" for number in count())

amounts = st.decimals(Decimal("0.0000000001"), Decimal(100_000_000), places=10)


@st.composite
def trades(draw: st.DrawFn) -> dict[str, Any]:
    """A Silver trade near a day's edge (2024, 2106, 2199, the epoch), with ties of time and sequence likely."""
    near = draw(st.sampled_from(ANCHORS)) + draw(st.integers(-2, 2) | st.integers(-90_000, 90_000)) * ONE_SECOND
    price, quantity = draw(amounts), draw(amounts)
    return {
        "symbol": draw(st.sampled_from(["BTCUSDT", "ETHUSDT"])),
        "price": price,
        "quantity": quantity,
        "quote_volume": EXACT.multiply(price, quantity),
        "timestamp": min(max(near + draw(st.sampled_from([0, 1, 999_999])), 1), LATEST),
        "sequence": draw(st.sampled_from([0, 1, 255, 256, 2**63, 2**64 - 1])),
        "side": draw(st.sampled_from(["BUY", "SELL"])),
    }


trade_ids = st.text("0129abé-", min_size=1, max_size=5)
tapes = st.dictionaries(trade_ids, trades(), min_size=1, max_size=40)


def tape_frame(exchange: str, tape: dict[str, dict[str, Any]]) -> pl.DataFrame:
    schema = {
        "exchange": pl.String(),
        "symbol": pl.String(),
        "trade_id": pl.String(),
        "price": pl.Decimal(38, 18),
        "quantity": pl.Decimal(38, 18),
        "quote_volume": pl.Decimal(38, 20),
        "timestamp": pl.Int64(),
        "sequence": pl.UInt64(),
        "side": pl.String(),
    }
    rows = [{"exchange": exchange, "trade_id": trade_id, **trade} for trade_id, trade in tape.items()]
    return pl.DataFrame(rows, schema=schema).with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")))


def plain(number: Decimal) -> str:
    return format(number.normalize(EXACT), "f")


def expected_candles(frame: pl.DataFrame, frame_seconds: int) -> list[tuple[str, ...]]:
    """Candles by polars alone, as text: symbol, window start in s, open, high, low, close, volumes, count."""
    ordered = frame.sort("timestamp", "sequence", "trade_id")
    window = pl.col("timestamp").dt.epoch("s") // frame_seconds * frame_seconds
    candles = (
        ordered.group_by("symbol", window.alias("window_start"), maintain_order=True)
        .agg(
            pl.col("price").first().alias("open"),
            pl.col("price").max().alias("high"),
            pl.col("price").min().alias("low"),
            pl.col("price").last().alias("close"),
            pl.col("quantity").sum().alias("volume"),
            pl.col("quote_volume").sum(),
            pl.len().alias("trade_count"),
            pl.col("quantity").filter(pl.col("side") == "BUY").sum().alias("buy"),
            pl.col("quantity").filter(pl.col("side") == "SELL").sum().alias("sell"),
        )
        .sort("symbol", "window_start")
    )
    return [tuple(plain(v) if isinstance(v, Decimal) else str(v) for v in row) for row in candles.iter_rows()]


def candles_of(engine: Engine, warehouse: Settings, timeframe: Timeframe, exchange: str) -> list[tuple[str, ...]]:
    rows = engine.execute(
        "SELECT symbol, toString(toUnixTimestamp64Second(window_start)), toString(open), toString(high),"
        " toString(low), toString(close), toString(volume), toString(quote_volume), toString(trade_count),"
        " toString(buy_volume), toString(sell_volume)"
        f" FROM {warehouse.clickhouse_database}.{timeframe.exact_view} WHERE exchange = '{exchange}'"
        " ORDER BY symbol, window_start SETTINGS output_format_json_quote_decimals = 1"
    )
    return [(*row[:2], *(plain(Decimal(cell)) for cell in row[2:])) for row in rows]


def doubles_of(
    engine: Engine, warehouse: Settings, timeframe: Timeframe, exchange: str
) -> list[tuple[str | float, ...]]:
    rows = engine.execute(
        "SELECT symbol, toString(toUnixTimestamp64Second(window_start)), open, high, low, close, volume, quote_volume,"
        f" trade_count, buy_volume, sell_volume FROM {warehouse.clickhouse_database}.{timeframe.view}"
        f" WHERE exchange = '{exchange}' ORDER BY symbol, window_start"
    )
    return [(*row[:2], *(float(cell) for cell in row[2:])) for row in rows]


def nearest(candles: list[tuple[str, ...]]) -> list[tuple[str | float, ...]]:
    """Exact candles as the views for arithmetic must show them: Python reads decimal text as the nearest double."""
    return [(*row[:2], *(float(cell) for cell in row[2:])) for row in candles]


def send(engine: Engine, warehouse: Settings, parts: Sequence[pl.DataFrame], settings: str = "") -> None:
    for part in parts:
        engine.insert(f"{warehouse.clickhouse_database}.silver_trades", part, settings)


@settings(max_examples=settings().max_examples // 4, deadline=None, suppress_health_check=list(HealthCheck))
@given(tape=tapes, data=st.data())
def test_candles_do_not_depend_on_the_order_of_arrival(
    engine: Engine, warehouse: Settings, tape: dict[str, dict[str, Any]], data: st.DataObject
) -> None:
    exchange = next(_exchanges)
    frame = tape_frame(exchange, tape)
    order = data.draw(st.permutations(range(len(frame))))
    cuts = sorted({0, len(frame), *data.draw(st.lists(st.integers(0, len(frame)), max_size=3))})
    shuffled = frame[order]
    send(engine, warehouse, [shuffled[a:b] for a, b in pairwise(cuts)])
    for timeframe in TIMEFRAMES:
        expected = expected_candles(frame, timeframe.seconds)
        assert candles_of(engine, warehouse, timeframe, exchange) == expected
        assert doubles_of(engine, warehouse, timeframe, exchange) == nearest(expected)


def test_candles_survive_merges(engine: Engine, warehouse: Settings) -> None:
    exchange = next(_exchanges)
    one = {"symbol": "BTCUSDT", "quantity": Decimal(1), "sequence": 0, "side": "BUY"}
    tape = {
        str(n): one | {"price": Decimal(n + 1), "quote_volume": Decimal(n + 1), "timestamp": 10**15 + n // 5}
        for n in range(40)
    }
    frame = tape_frame(exchange, tape)
    send(engine, warehouse, [frame.reverse()[n::7] for n in range(7)])
    before = [candles_of(engine, warehouse, timeframe, exchange) for timeframe in TIMEFRAMES]
    engine.execute(f"OPTIMIZE TABLE {warehouse.clickhouse_database}.{STATE_TABLE} FINAL")
    assert before == [candles_of(engine, warehouse, timeframe, exchange) for timeframe in TIMEFRAMES]
    assert before == [expected_candles(frame, timeframe.seconds) for timeframe in TIMEFRAMES]


def test_sums_do_not_overflow(engine: Engine, warehouse: Settings) -> None:
    """Ten of the largest Decimal(38, 18) exceed 38 digits; a Decimal128 sum would wrap without a word."""
    exchange = next(_exchanges)
    largest = EXACT.subtract(Decimal(10) ** 20, Decimal(1).scaleb(-18))
    trade = {"symbol": "A", "price": Decimal(1), "quantity": largest, "quote_volume": Decimal(10) ** 17}
    tape = {str(n): trade | {"timestamp": 10**15, "sequence": n, "side": "BUY"} for n in range(10)}
    send(engine, warehouse, [tape_frame(exchange, tape)])
    (candle,) = doubles_of(engine, warehouse, TIMEFRAMES[-1], exchange)
    assert candle[6] == float("999999999999999999999.99999999999999999")
    with pytest.raises(EngineError, match="volume of a candle needs more than 38 digits"):
        candles_of(engine, warehouse, TIMEFRAMES[-1], exchange)
    view = f"{warehouse.clickhouse_database}.{TIMEFRAMES[-1].exact_view}"
    assert engine.execute(f"SELECT trade_count FROM {view} WHERE exchange = '{exchange}'") == [[10]]


def totals(engine: Engine, warehouse: Settings, exchange: str) -> list[int]:
    database, market = warehouse.clickhouse_database, f"WHERE exchange = '{exchange}'"
    counts = [engine.execute(f"SELECT count() FROM {database}.silver_trades {market}")[0][0]]
    counts += [
        engine.execute(f"SELECT sum(trade_count) FROM {database}.{timeframe.view} {market}")[0][0]
        for timeframe in TIMEFRAMES
    ]
    return [int(value) for value in counts]


def same_insert_twice(engine: Engine, warehouse: Settings, exchange: str) -> list[int]:
    tape = {
        str(n): {
            "symbol": "BTCUSDT",
            "price": Decimal(1),
            "quantity": Decimal(1),
            "quote_volume": Decimal(1),
            "timestamp": 10**15 + n % 3 * 86_400 * ONE_SECOND,
            "sequence": n,
            "side": "SELL",
        }
        for n in range(30)
    }
    token = f", insert_deduplication_token = '{exchange}:0:1-1:1', deduplicate_insert_select = 'force_enable'"
    token += ", deduplicate_blocks_in_dependent_materialized_views = 1"
    send(engine, warehouse, [tape_frame(exchange, tape)] * 2, token)
    return totals(engine, warehouse, exchange)


def test_a_retried_insert_adds_nothing(engine: Engine, warehouse: Settings) -> None:
    assert same_insert_twice(engine, warehouse, next(_exchanges)) == [30] * (1 + len(TIMEFRAMES))


@pytest.mark.nightly
def test_without_a_window_a_retry_would_count_twice(engine: Engine) -> None:
    """Holds the test above to its cause: the window that the migrations set."""
    warehouse = make_warehouse(engine)
    for name in ("silver_trades", STATE_TABLE):
        table = f"{warehouse.clickhouse_database}.{name}"
        engine.execute(f"ALTER TABLE {table} MODIFY SETTING non_replicated_deduplication_window = 0")
    assert same_insert_twice(engine, warehouse, next(_exchanges)) == [60] * (1 + len(TIMEFRAMES))


def test_a_retry_completes_what_a_failed_view_left_undone(engine: Engine, warehouse: Settings) -> None:
    exchange = next(_exchanges)
    state = f"{warehouse.clickhouse_database}.{STATE_TABLE}"
    engine.execute(f"RENAME TABLE {state} TO {state}_away")
    with pytest.raises(Exception, match="UNKNOWN_TABLE"):
        same_insert_twice(engine, warehouse, exchange)
    engine.execute(f"RENAME TABLE {state}_away TO {state}")
    assert same_insert_twice(engine, warehouse, exchange) == [30] * (1 + len(TIMEFRAMES))


def test_a_retry_completes_gold_where_silver_was_written(engine: Engine, warehouse: Settings) -> None:
    """TRUNCATE takes Gold's rows and its memory of the token, as if the insert had died after Silver."""
    exchange = next(_exchanges)
    assert same_insert_twice(engine, warehouse, exchange) == [30] * (1 + len(TIMEFRAMES))
    state = f"{warehouse.clickhouse_database}.{STATE_TABLE}"
    engine.execute(f"TRUNCATE TABLE {state}")
    assert totals(engine, warehouse, exchange) == [30] + [0] * len(TIMEFRAMES)
    assert same_insert_twice(engine, warehouse, exchange) == [30] * (1 + len(TIMEFRAMES))


def test_a_counted_duplicate_is_one_row(engine: Engine, warehouse: Settings) -> None:
    table = f"{warehouse.clickhouse_database}.duplicate_trades"
    for seen in ("2024-08-09 23:59:59", "2024-08-10 00:00:01"):
        engine.execute(
            f"INSERT INTO {table} (trade_id, raw_topic, raw_partition, raw_offset, published_at, seen_at)"
            f" VALUES ('1', 't', 0, 5, '2024-08-09 12:00:00', '{seen}')"
        )
    assert engine.execute(f"SELECT count() FROM {table} FINAL") == [[1]]
    engine.execute(f"OPTIMIZE TABLE {table} FINAL")
    assert engine.execute(f"SELECT count() FROM {table}") == [[1]]
