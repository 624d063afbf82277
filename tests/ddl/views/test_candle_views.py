"""What a candle view says of a candle beside its amounts, of which types its columns are, and what a look costs."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count

import polars as pl
import pytest

from config.settings import Settings
from ddl.layers import Timeframe, load_layers
from ddl.render import render
from tests.ddl.conftest import refresh
from tests.ddl.engine import Engine, EngineError

TIMEFRAMES = load_layers().timeframes
EXACT = ("open", "high", "low", "close", "volume", "quote_volume", "buy_volume", "sell_volume")
_exchanges = (f"venue{number}" for number in count())
# The grace that the column comment of is_closed promises.
GRACE = timedelta(seconds=60)
SCHEMA = {"symbol": pl.String, "trade_id": pl.String, "price": pl.Decimal(38, 18), "time": pl.Datetime("us", "UTC")}


def trades(exchange: str, rows: list[tuple[str, str, datetime]]) -> pl.DataFrame:
    """Silver rows of (symbol, price, time), quantity 2, taker buying."""
    data = [(symbol, str(n), Decimal(price), time) for n, (symbol, price, time) in enumerate(rows)]
    return pl.DataFrame(data, schema=SCHEMA, orient="row").select(
        pl.lit(exchange).alias("exchange"),
        "symbol",
        "trade_id",
        "price",
        pl.lit(2).cast(pl.Decimal(38, 18)).alias("quantity"),
        (pl.col("price") * 2).cast(pl.Decimal(38, 20)).alias("quote_volume"),
        pl.col("time").alias("timestamp"),
        pl.lit("BUY").alias("side"),
    )


def ask(engine: Engine, warehouse: Settings, sql: str) -> list[list[object]]:
    return [list(row) for row in engine.execute(sql.replace("FROM ", f"FROM {warehouse.clickhouse_database}."))]


def floor(moment: datetime, frame: Timeframe) -> datetime:
    return datetime.fromtimestamp(int(moment.timestamp()) // frame.seconds * frame.seconds, UTC)


@pytest.mark.parametrize("frame", TIMEFRAMES, ids=lambda frame: frame.code)
def test_a_candle_is_closed_when_a_later_trade_or_the_clock_says_so(
    engine: Engine, warehouse: Settings, frame: Timeframe
) -> None:
    """Over a quiet market and one that has traded since, at ages around the end of the window."""
    exchange, length = next(_exchanges), timedelta(seconds=frame.seconds)
    rows = []
    for _ in range(20):  # a window's end must not pass between the insert and the look
        now = datetime.now(UTC)
        if now < floor(now, frame) + length - timedelta(seconds=20) or frame.seconds > 60:
            break
    ended = floor(now, frame) - timedelta(microseconds=1)
    rows = [("LIVELY", "1.5", ended), ("LIVELY", "1.5", now), ("QUIET", "1.5", ended), ("OLD", "2", ended - length * 3)]
    engine.insert(f"{warehouse.clickhouse_database}.silver_trades", trades(exchange, rows))
    for view in (frame.view, frame.exact_view):
        before = datetime.now(UTC)
        found = ask(
            engine,
            warehouse,
            f"SELECT symbol, toUnixTimestamp64Second(window_start), is_closed FROM {view}"
            f" WHERE exchange = '{exchange}'",
        )
        after = datetime.now(UTC)
        closed = {(str(row[0]), int(str(row[1]))): row[2] for row in found}
        for symbol, _, time in rows:
            start = floor(time, frame)
            traded_since = any(s == symbol and t >= start + length for s, _, t in rows)
            answers = {
                now >= start + length and (traded_since or now >= start + length + GRACE) for now in (before, after)
            }
            assert closed[symbol, int(start.timestamp())] in answers, (symbol, start)
        assert closed["LIVELY", int(floor(ended, frame).timestamp())] is True
        assert closed["LIVELY", int(floor(now, frame).timestamp())] in (False, after >= floor(now, frame) + length)
        assert closed["OLD", int(floor(rows[3][2], frame).timestamp())] is True


def test_a_candle_is_complete_unless_a_gap_touches_it(engine: Engine, warehouse: Settings) -> None:
    """Against the definition, gap by gap, over gaps of microseconds and of weeks, on windows' edges and beside.

    Ids need not be in the order of times: a fifth of the gaps begins after its end.
    """
    dice, exchange = random.Random(20261128), next(_exchanges)
    origin = datetime(2025, 3, 9, 22, 30, tzinfo=UTC)
    moments = [origin + timedelta(seconds=dice.randrange(40 * 86_400)) for _ in range(1500)]
    rows = [(dice.choice(["AAA", "BBB", "CCC"]), "1", moment) for moment in moments]
    engine.insert(
        f"{warehouse.clickhouse_database}.silver_trades",
        trades(exchange, rows),
        ", max_partitions_per_insert_block = 0",
    )
    gaps = []
    for number in range(60):
        start = floor(dice.choice(moments), dice.choice(TIMEFRAMES)) + timedelta(
            microseconds=dice.choice([0, 1, -1, dice.randrange(10**9)])
        )
        length = timedelta(
            microseconds=dice.choice([0, 1, 10**6, 6 * 10**7, 10**9, 86_400 * 10**6]) * dice.randint(1, 3)
        )
        state = dice.choice(["healed", "healed", "open", "unfillable"])
        gaps.append((exchange, dice.choice(["AAA", "BBB"]), str(number), start, start + length, state, start))
    gaps.append(
        (exchange, "BBB", "long", origin + timedelta(days=20), origin + timedelta(days=33), "unfillable", origin)
    )
    schema = ["exchange", "symbol", "from_id", "from_time", "to_time", "state", "detected_at"]
    noted = [(*gap[:3], gap[4], gap[3], *gap[5:]) if number % 5 == 0 else gap for number, gap in enumerate(gaps)]
    frame_of_gaps = pl.DataFrame(noted, schema=schema, orient="row")
    engine.insert(f"{warehouse.clickhouse_database}.producer_gaps_log", frame_of_gaps)
    for frame in TIMEFRAMES:
        found = ask(
            engine,
            warehouse,
            f"SELECT symbol, toUnixTimestamp64Second(window_start), is_complete FROM {frame.view}"
            f" WHERE exchange = '{exchange}'",
        )
        answers = set()
        for symbol, second, is_complete in found:
            start = datetime.fromtimestamp(int(str(second)), UTC)
            end = start + timedelta(seconds=frame.seconds)
            touched = any(gap[1] == symbol and gap[5] != "healed" and gap[3] < end and gap[4] >= start for gap in gaps)
            assert is_complete is not touched, (frame.code, symbol, start)
            answers.add((symbol, is_complete))
        assert {("AAA", True), ("AAA", False), ("BBB", False), ("CCC", True)} <= answers
        assert ("CCC", False) not in answers


def test_every_column_has_a_plain_type_and_a_comment(engine: Engine, warehouse: Settings) -> None:
    plain = {"String", "Float64", "UInt32", "UInt64", "Bool", "DateTime64(0, 'UTC')"}
    plain |= {"DateTime64(3, 'UTC')", "DateTime64(6, 'UTC')"}
    views = [view for frame in TIMEFRAMES for view in (frame.view, frame.exact_view)]
    views += ["trades", "latest_prices", "latest_prices_live"]
    for view in views:
        columns = engine.execute(
            "SELECT name, type, comment FROM system.columns"
            f" WHERE database = '{warehouse.clickhouse_database}' AND table = '{view}'"
        )
        assert len(columns) > 10
        for name, kind, comment in columns:
            assert comment, (view, name)
            if view.endswith("_exact") and name in EXACT:
                assert kind == ("Decimal(38, 20)" if name == "quote_volume" else "Decimal(38, 18)")
            else:
                assert kind in plain, (view, name, kind)
    amounts = engine.execute(
        "SELECT name, comment FROM system.columns WHERE database = "
        f"'{warehouse.clickhouse_database}' AND table = 'silver_trades' AND startsWith(type, 'Decimal')"
    )
    assert len(amounts) == 3
    assert all("toFloat64(toString(" in comment for _, comment in amounts)


@pytest.fixture(scope="module")
def twenty_markets(engine: Engine, warehouse: Settings) -> str:
    """An exchange of twenty markets with a trade a minute for two days; Silver and Gold are merged."""
    database, exchange = warehouse.clickhouse_database, next(_exchanges)
    engine.execute(
        f"INSERT INTO {database}.silver_trades"
        " (exchange, symbol, trade_id, price, quantity, quote_volume, timestamp, side)"
        f" SELECT '{exchange}', concat('M', leftPad(toString(number % 20), 3, '0')), toString(number), 1, 1, 1,"
        " toDateTime64(1760054400 + intDiv(number, 20) * 60, 6, 'UTC'), 'BUY' FROM numbers(28800 * 2)"
        " SETTINGS max_partitions_per_insert_block = 0"
    )
    for table in ("silver_trades", "gold_ohlcv_state"):
        engine.execute(f"OPTIMIZE TABLE {database}.{table} FINAL")
    return exchange


# Both views of a frame have the same conditions.
@pytest.mark.parametrize(
    "view", ["gold_ohlcv_1m", pytest.param("gold_ohlcv_1m_exact", marks=pytest.mark.nightly), "trades"]
)
def test_a_look_at_one_market_reads_one_market(
    engine: Engine, warehouse: Settings, twenty_markets: str, view: str
) -> None:
    """The conditions reach the primary key and the partitions, for all columns and for a few."""
    database, exchange = warehouse.clickhouse_database, twenty_markets
    table, time = ("silver_trades", "timestamp") if view == "trades" else ("gold_ohlcv_state", "window_start")
    for columns in ("*", "exchange"):
        explained = engine.execute(
            f"EXPLAIN indexes = 1 SELECT {columns} FROM {database}.{view} WHERE exchange = '{exchange}'"
            f" AND symbol = 'M017' AND {time} >= '2025-10-11 06:00:00' AND {time} < '2025-10-12 00:00:00'"
        )
        text = "\n".join(str(row[0]) for row in explained)
        first = text[text.index(f"{database}.{table}") :]
        assert re.findall(r"Parts: (\d+)/", first)[0] == "1", text
        granules = [int(found) for found in re.findall(r"Granules: (\d+)/", first)[:3]]
        assert granules[2] <= 3 < granules[0], text
        if columns == "exchange":
            assert "producer_gaps" not in text


@pytest.mark.parametrize("view", ["latest_prices", "latest_prices_live"])
def test_latest_prices_are_the_last_trade_and_a_day(engine: Engine, warehouse: Settings, view: str) -> None:
    exchange, now = next(_exchanges), datetime.now(UTC)
    edge = datetime.fromtimestamp((int(now.timestamp()) - 86_400) // 1800 * 1800, UTC)
    ages = [timedelta(minutes=minutes) for minutes in (0, 0, 7, 61, 600, 1379)]
    rows = [("BUSY", f"{2500 + 7 * n}.8", now - age) for n, age in enumerate(ages)]
    rows += [("BUSY", "1.1", edge - timedelta(microseconds=1)), ("BUSY", "9000.3", now - timedelta(days=3))]
    rows += [("QUIET", "0.1", now - timedelta(days=40)), ("QUIET", "0.3", now - timedelta(days=39))]
    frame = trades(exchange, rows)
    engine.insert(f"{warehouse.clickhouse_database}.silver_trades", frame)
    if view == "latest_prices":
        refresh(engine, warehouse)
    names = "last_price, toUnixTimestamp64Micro(last_time), open_24h, high_24h, low_24h, volume_24h, quote_volume_24h"
    query = (
        f"SELECT symbol, {names}, trade_count_24h, change_24h, change_percent_24h FROM {view}"
        f" WHERE exchange = '{exchange}' ORDER BY symbol"
    )
    found = ask(engine, warehouse, query)
    assert ask(engine, warehouse, query + " SETTINGS join_use_nulls = 1") == found
    ordered = frame.sort("timestamp", "trade_id")
    day = ordered.filter(pl.col("symbol") == "BUSY", pl.col("timestamp") >= edge)
    last = ordered.filter(pl.col("symbol") == "BUSY").tail(1)
    first, newest = day["price"][0], last["price"][0]
    busy = [float(newest), int(last["timestamp"].dt.epoch("us")[0]), float(first), float(day["price"].max())]
    busy += [float(day["price"].min()), float(day["quantity"].sum()), float(day["quote_volume"].sum()), day.height]
    busy += [float(newest - first), pytest.approx(float((newest - first) / first * 100), rel=1e-12)]
    quiet = ordered.filter(pl.col("symbol") == "QUIET").tail(1)
    at = int(quiet["timestamp"].dt.epoch("us")[0])
    numbers = [[row[0], *(float(str(cell)) for cell in row[1:])] for row in found]
    assert numbers == [["BUSY", *busy], ["QUIET", 0.3, at, 0.3, 0.3, 0.3, 0.0, 0.0, 0, 0.0, 0.0]]


_ASKED = [
    f"SELECT {columns} FROM latest_prices {condition}"
    for columns in ("*", "symbol", "count()")
    for condition in (
        "",
        "WHERE symbol = 'A'",
        "WHERE exchange = 'none' AND symbol IN ('A', 'B')",
        "WHERE last_price < 0",
    )
]


def test_latest_prices_that_are_no_longer_made_are_an_error(engine: Engine, warehouse: Settings) -> None:
    """Prices of a minute ago are never shown as the latest; the view that the error names has those of now."""
    database, exchange = warehouse.clickhouse_database, next(_exchanges)
    engine.insert(f"{database}.silver_trades", trades(exchange, [("A", "5.5", datetime.now(UTC))]))
    query = f"SELECT symbol, last_price FROM {{}} WHERE exchange = '{exchange}'"
    refresh(engine, warehouse)
    assert ask(engine, warehouse, query.format("latest_prices")) == [["A", 5.5]]
    engine.execute(f"SYSTEM STOP VIEW {database}.latest_prices_mv")
    try:
        engine.execute(f"ALTER TABLE {database}.latest_prices_copy UPDATE as_of = as_of - 61 WHERE true"
                       " SETTINGS mutations_sync = 1")  # fmt: skip
        for asked in _ASKED:
            with pytest.raises(EngineError, match="latest_prices is older than 60 s: read latest_prices_live"):
                ask(engine, warehouse, asked)
        assert ask(engine, warehouse, query.format("latest_prices_live")) == [["A", 5.5]]
    finally:
        engine.execute(f"SYSTEM START VIEW {database}.latest_prices_mv")
    refresh(engine, warehouse)
    assert ask(engine, warehouse, query.format("latest_prices")) == [["A", 5.5]]


def test_latest_prices_that_were_never_made_are_an_error(engine: Engine) -> None:
    """No market is an answer only where somebody has looked."""
    settings = Settings(clickhouse_database="unmade")
    engine.execute("CREATE DATABASE unmade")
    for statement in render(settings):
        if statement.object in {"latest_prices_copy", "latest_prices"}:
            engine.execute(statement.sql)
    for asked in _ASKED:
        with pytest.raises(EngineError, match="latest_prices is older than 60 s"):
            ask(engine, settings, asked)
    engine.execute("ALTER TABLE unmade.latest_prices_copy UPDATE as_of = now64(6, 'UTC') WHERE true"
                   " SETTINGS mutations_sync = 1")  # fmt: skip
    assert [ask(engine, settings, asked) for asked in _ASKED] == 8 * [[]] + 4 * [[[0]]]
