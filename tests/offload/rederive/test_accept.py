"""Another version of trades is accepted: hot and cold follow, whole and once, whatever happens (invariants 1, 2)."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import polars as pl
import pyarrow as pa
import pytest

from config.settings import Settings
from offload.accept import AcceptPlan, DeadLetterFilter, accept, plan_accept
from offload.clickhouse.client import ClickHouseHttp, Parameters
from offload.clickhouse.tiers import Tiers
from offload.proof.counts import stream_lineage
from offload.proof.verify import verify
from offload.rederive.run import rederive
from offload.retention.union_views import update_union_views
from offload.run import run
from offload.tables.cold_tables import BY_NAME
from offload.tables.slices import DAY_US
from offload.withdraw import held_ids, plan_withdrawal
from tests.offload.cold_tables import read
from tests.offload.hot_tables import ARRIVAL, HotTables, duplicate_rows, raw_rows, silver_rows
from tests.offload.rederive.rederiving import HIGH, assert_is, assert_proved, limited

FIRST = datetime(2024, 8, 8, tzinfo=UTC)
LAST = FIRST + timedelta(days=2)
ALL = DeadLetterFilter(exchange="binance")
TRADES = 200
TOPIC = "market.crypto.trades.binance.raw"


class KilledError(BaseException):
    """The command is gone at this point."""


class Killing(ClickHouseHttp):
    """Dies before the n-th statement or insert that begins so."""

    def __init__(self, settings: Settings, text: str, number: int) -> None:
        super().__init__(settings)
        self._text, self._left = text, number

    def _point(self, text: str) -> None:
        self._left -= self._text in text
        if self._left == 0:
            raise KilledError(text)

    def command(self, sql: str, parameters: Parameters) -> None:
        self._point(sql)
        super().command(sql, parameters)

    def insert(self, table: str, rows: pa.Table) -> None:
        self._point(f"INSERT {table}")
        super().insert(table, rows)


@pytest.fixture
def posted(settings: Settings, brokers: str, tmp_path: Any) -> Settings:
    """Settings with a broker, a topic for the dead letters, and a registry of the market."""
    topic = f"letters_{uuid4().hex}"
    return limited(settings, tmp_path, HIGH).model_copy(update={"kafka_bootstrap_servers": brokers, "dlq_topic": topic})


def tape(minutes: int = 12) -> pl.DataFrame:
    """Trades so many minutes apart, in the columns of `tests.offload.hot_tables.read_tape`: in 12, of two days."""
    number = pl.int_range(TRADES)
    return pl.select(
        pl.lit("binance").alias("exchange"),
        pl.when(number % 2 == 0).then(pl.lit("BTCUSDT")).otherwise(pl.lit("ETHUSDT")).alias("symbol"),
        (5_000 + number).cast(pl.String).alias("trade_id"),
        pl.format("{}.25", 100 + number % 7).alias("price"),
        pl.format("0.1{}", 1 + number % 9).alias("qty"),
        pl.when(number % 3 == 0).then(pl.lit("SELL")).otherwise(pl.lit("BUY")).alias("side"),
        (pl.lit(FIRST).dt.cast_time_unit("us") + pl.duration(minutes=number * minutes)).alias("time"),
        number.cast(pl.UInt64).alias("offset"),
        (pl.lit(ARRIVAL).dt.cast_time_unit("us") + pl.duration(milliseconds=number)).alias("arrived"),
    )


def come(hot: HotTables, versions: pl.DataFrame, field: str = "side", matches: str = "") -> None:
    """Other versions of trades arrive, and the worker sees that they contradict."""
    raw = raw_rows(versions)
    hot.insert("trades_raw", raw)
    dead_letters = raw.select(
        pl.lit("trade_contradicts").alias("reason"),
        pl.lit(field).alias("field"),
        "exchange",
        "symbol",
        "trade_id",
        pl.col("price").alias("price_text"),
        pl.col("quantity").alias("quantity_text"),
        "timestamp_raw",
        "side",
        "sequence",
        pl.lit(matches).alias("matches"),
        versions["time"].alias("timestamp"),
        pl.col("_topic").alias("raw_topic"),
        pl.col("_partition").alias("raw_partition"),
        pl.col("_offset").alias("raw_offset"),
        "published_at",
        "received_at",
        "ingested_at",
        pl.col("ingested_at").alias("rejected_at"),
    )
    hot.insert("dlq_trades_log", dead_letters)


def later(trades: pl.DataFrame, times: int = 1) -> pl.DataFrame:
    """The same trades in messages that came so many minutes later."""
    return trades.with_columns(pl.col("offset") + 10_000 * times, pl.col("arrived") + pl.duration(minutes=times))


def turned(trades: pl.DataFrame) -> pl.DataFrame:
    """Sides the other way round, and another price."""
    side = pl.when(pl.col("side") == "BUY").then(pl.lit("SELL")).otherwise(pl.lit("BUY"))
    return trades.with_columns(side.alias("side"), pl.lit("77.5").alias("price"))


def together(first: pl.DataFrame, versions: pl.DataFrame) -> pl.DataFrame:
    """The trades with these versions in place of their own."""
    return pl.concat([first.join(versions, on=["symbol", "trade_id"], how="anti"), versions.select(first.columns)])


def assert_both_tiers_are_one(settings: Settings) -> None:
    """What Iceberg has of each message is where ClickHouse has it."""
    tiers = Tiers.open(settings)
    counts = [*stream_lineage(tiers.hot, tables=tiers.cold.load_all())]
    assert all(count.holds for count in counts), counts
    assert verify(tiers).ok


def place(trade: pl.DataFrame) -> DeadLetterFilter:
    return DeadLetterFilter(message=(TOPIC, 0, int(trade["offset"][0])))


def with_corrections(hot: HotTables) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Trades, those of them that are wrong (some came twice), and the corrections of these, which are dead letters."""
    first = tape(7)
    wrong = first.gather_every(4)
    hot.load(first)
    twice = pl.concat([wrong.head(4), first.slice(1, 1)]).with_columns(
        pl.col("offset") + 5_000, pl.col("arrived") + pl.duration(seconds=30)
    )
    hot.insert("trades_raw", raw_rows(twice))
    hot.insert("duplicate_trades", duplicate_rows(twice))
    corrected = later(turned(wrong))
    come(hot, corrected, "price_text, side")
    return first, wrong, corrected


def test_the_corrected_version_is_in_both_tiers_and_stays(posted: Settings, hot: HotTables) -> None:
    """Neither version is in Iceberg yet. Some trades came twice in their first version, and another one comes again
    after the correction."""
    first, wrong, corrected = with_corrections(hot)
    assert_proved(posted, first.height, 5, wrong.height)

    planned = plan_accept(Tiers.open(posted), ALL)
    assert planned.trades.height == wrong.height
    one = planned.corrections(1)[0]
    assert (one.field, one.new.price) == ("price_text, side", "77.5")
    assert one.old is not None
    assert one.old.message == f"{TOPIC}[0]@{first.filter(pl.col('trade_id') == one.trade_id)['offset'][0]}"
    assert planned.candles()["1d"] == [FIRST]
    accept(Tiers.open(posted), planned)
    now = together(first, corrected)
    assert_proved(posted, first.height, 1, wrong.height + 4)
    dead_letters = "SELECT toString(reason), count() FROM dlq_trades GROUP BY ALL"
    assert hot.client.query(dead_letters).result_rows == [("trade_superseded", wrong.height + 4)]
    once_more = later(first.slice(2, 1), 3)
    hot.insert("trades_raw", raw_rows(once_more))
    hot.insert("duplicate_trades", duplicate_rows(once_more))
    run(Tiers.open(posted), until_now=True)
    assert_proved(posted, first.height, 2, wrong.height + 4)
    assert_both_tiers_are_one(posted)
    bought = silver_rows(now).filter(pl.col("side") == "BUY")["quantity"].sum()
    candles = "SELECT sum(buy_volume) FROM gold_ohlcv_state WHERE frame = 3600"
    assert hot.client.query(candles).result_rows == [(bought,)]
    assert plan_accept(Tiers.open(posted), ALL).is_empty


def taken_back(hot: HotTables) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Trades of a day, and three of them that the exchange takes back; one of these came twice."""
    first = tape(7)
    gone = first.filter(pl.col("symbol") == "BTCUSDT").slice(2, 3)
    hot.load(first)
    twice = gone.head(1).with_columns(pl.col("offset") + 5_000, pl.col("arrived") + pl.duration(seconds=30))
    hot.insert("trades_raw", raw_rows(twice))
    hot.insert("duplicate_trades", duplicate_rows(twice))
    return first, gone


def withdrawal(settings: Settings, trades: pl.DataFrame) -> AcceptPlan:
    return plan_withdrawal(Tiers.open(settings), ("binance", "BTCUSDT"), ["no such id", *trades["trade_id"]])


# Of the fast tier: test_the_corrected_version_is_in_both_tiers_and_stays, and the case dump-corrected-later.
@pytest.mark.nightly
def test_withdrawn_trades_leave_both_tiers(posted: Settings, hot: HotTables) -> None:
    first, gone = taken_back(hot)
    day_us = int(FIRST.timestamp()) * 1_000_000
    ids = first.filter(pl.col("symbol") == "BTCUSDT", pl.col("time") < FIRST + timedelta(days=1))["trade_id"]
    assert held_ids(Tiers.open(posted), ("binance", "BTCUSDT"), day_us, day_us + DAY_US) == {*ids}

    planned = withdrawal(posted, gone)
    assert {one.trade_id for one in planned.corrections()} == {*gone["trade_id"]}
    accept(Tiers.open(posted), planned)
    stays = first.join(gone, on="offset", how="anti")
    assert_proved(posted, stays.height, 0, gone.height + 1)
    letters = hot.client.query("SELECT DISTINCT toString(reason), field, limit FROM dlq_trades").result_rows
    assert letters == [("trade_superseded", "trade_id", "withdrawn")]
    assert withdrawal(posted, gone).is_empty
    assert_is(hot, posted, stays)


# Its sibling: the one above.
@pytest.mark.nightly
def test_a_withdrawal_that_was_killed_is_finished_and_a_trade_comes_back(posted: Settings, hot: HotTables) -> None:
    """Its days are in Iceberg by then."""
    first, gone = taken_back(hot)
    run(Tiers.open(posted), until_now=True)
    for text in ("INSERT rederivations", "REPLACE PARTITION"):
        with pytest.raises(KilledError):
            accept(Tiers.open(posted, Killing(posted, text, 1)), withdrawal(posted, gone))
    accept(Tiers.open(posted), withdrawal(posted, gone))
    stays = first.join(gone, on="offset", how="anti")
    assert_is(hot, posted, stays)
    assert {(day.added, day.removed, day.altered) for day in rederive(Tiers.open(posted), FIRST, LAST)} == {(0, 0, 0)}

    accept(Tiers.open(posted), plan_accept(Tiers.open(posted), place(gone.head(1))))
    assert_proved(posted, stays.height + 1, 1, gone.height - 1)
    assert_is(hot, posted, pl.concat([stays, gone.head(1)]))


# Its sibling above: this is how it goes on.
@pytest.mark.nightly
def test_a_third_version_follows_and_the_notes_are_lost(posted: Settings, hot: HotTables) -> None:
    first, wrong, corrected = with_corrections(hot)
    accept(Tiers.open(posted), plan_accept(Tiers.open(posted), ALL))
    run(Tiers.open(posted), until_now=True)

    # A third version of one trade, on a day that had no trade, and a message that says what Silver has by now.
    moved = turned(wrong.head(1)).with_columns(pl.lit("78").alias("price"), pl.col("time") + pl.duration(days=1))
    third = later(moved, 2)
    come(hot, third, "price_text, timestamp")
    come(hot, later(corrected.tail(1), 2))
    again = plan_accept(Tiers.open(posted), ALL)
    assert (again.trades.height, again.agreeing.height) == (1, 1)
    accept(Tiers.open(posted), again)
    now = together(together(first, corrected), third)
    assert_proved(posted, first.height, 2, wrong.height + 5)
    for view in ("silver_trades", "silver_trades_all", "gold_ohlcv_1m", "gold_ohlcv_1m_all", "gold_ohlcv_1d_all"):
        time = "timestamp" if "silver" in view else "window_start"
        assert hot.count(f"(SELECT 1 FROM {view} WHERE toDate({time}) = '2024-08-09')") == 1, view

    # The way back to the very first version, which is named by its message: the older one is the new one.
    back = plan_accept(Tiers.open(posted), place(wrong.head(1)))
    assert [(one.trade_id, one.field, one.new.price) for one in back.corrections()] == [
        (wrong["trade_id"][0], "price_text, timestamp, side", wrong["price"][0])
    ]

    # A disaster takes the notes: what Silver has stays.
    hot.client.command("TRUNCATE TABLE corrections")
    assert {(day.added, day.removed, day.altered) for day in rederive(Tiers.open(posted), FIRST, LAST)} == {(0, 0, 0)}
    assert_is(hot, posted, now)


# Its siblings: the two above. The second plans the way back, and to go it is to accept once more.
@pytest.mark.nightly
def test_the_first_version_comes_back_from_another_day(posted: Settings, hot: HotTables) -> None:
    first = tape(7)
    trade = first.head(1)
    hot.load(first)
    moved = later(turned(trade).with_columns(pl.col("time") + pl.duration(days=1)))
    come(hot, moved, "price_text, timestamp, side")
    days = accept(Tiers.open(posted), plan_accept(Tiers.open(posted), ALL))
    assert [(day.symbol, day.day, day.added, day.removed) for day in days] == [
        ("BTCUSDT", "2024-08-08", 0, 1),
        ("BTCUSDT", "2024-08-09", 1, 0),
    ], "one report a day, though the new day is re-derived twice"
    accept(Tiers.open(posted), plan_accept(Tiers.open(posted), place(trade)))
    assert_proved(posted, first.height, 0, 1)
    assert_is(hot, posted, first)


def test_a_match_is_not_accepted_in_place_of_a_sum_nor_a_sum_in_place_of_a_match(
    posted: Settings, hot: HotTables
) -> None:
    """Of a match within a sum Silver has no trade of its own: to accept one would count it twice."""
    first = tape(7).head(20)
    hot.load(first)
    come(hot, later(first.head(1).with_columns(pl.lit("4000").alias("trade_id"))), "price_text")
    come(hot, later(turned(first.slice(4, 1)), 2), "price_text, side", matches="3")
    come(hot, later(turned(first.slice(6, 1)), 3), "price_text, side")
    planned = plan_accept(Tiers.open(posted), ALL)
    assert planned.trades["trade_id"].to_list() == [first["trade_id"][6]]
    assert (planned.in_sums, planned.agreeing.height, planned.not_over) == (2, 0, 0)


@pytest.mark.nightly
def test_a_trade_moves_to_another_day(posted: Settings, hot: HotTables) -> None:
    """The corrected time lies a day later; the old day has left hot Silver."""
    first = tape()
    hot.load(first)
    run(Tiers.open(posted), until_now=True)
    moving = first.head(3)
    corrected = later(moving.with_columns(pl.col("time") + pl.duration(days=1)))
    come(hot, corrected, "timestamp")
    hot.client.command("ALTER TABLE silver_trades DROP PARTITION ID '20240808'")
    tiers = Tiers.open(posted)
    update_union_views(tiers.hot, tiers.cold.load_all(), check=True)
    planned = plan_accept(Tiers.open(posted), ALL)
    assert {one.field for one in planned.corrections()} == {"timestamp"}
    accept(Tiers.open(posted), planned)
    expected = together(first, corrected)
    cold = read(posted, BY_NAME["silver_trades"])
    key = ["symbol", "trade_id", "timestamp", "price", "side"]
    assert cold.select(key).sort(key).equals(silver_rows(expected).select(key).sort(key))
    stays = expected.filter(pl.col("time") >= FIRST + timedelta(days=1))
    assert hot.count("silver_trades") == stays.height
    assert hot.count("dlq_trades") == moving.height
    trades = hot.client.query("SELECT sum(trade_count) FROM gold_ohlcv_1h").result_rows
    assert trades == [(expected.height,)]
    assert plan_accept(Tiers.open(posted), ALL).is_empty


# In the order in which they come; every other one, unless all are asked for.
ALL_STEPS = (
    ("INSERT corrections", 1),
    ("INSERT rederivations", 2),
    ("INSERT dlq_replays", 1),
    ("INSERT dlq_replays", 3),
    ("REPLACE PARTITION", 1),
    ("INSERT corrections", 2),
)
STEPS = ALL_STEPS if os.environ.get("MEDALLION_TEST_EVERY_KILL") else ALL_STEPS[1::2]


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_killed_at_any_step_the_next_one_finishes_it(posted: Settings, hot: HotTables) -> None:
    """Each time another version comes, its acceptance dies, and the same command does the rest."""
    first = tape().filter(pl.col("time") < FIRST + timedelta(days=1))
    hot.load(first)
    now = first
    for number, (text, count) in enumerate(STEPS, 1):
        version = later(turned(now.sort("trade_id").gather_every(9)), 1).with_columns(
            pl.lit(f"{100 + number}.5").alias("price")
        )
        come(hot, version, "price_text, side")
        planned = plan_accept(Tiers.open(posted), ALL)
        with pytest.raises(KilledError):
            accept(Tiers.open(posted, Killing(posted, text, count)), planned)
        while not (rest := plan_accept(Tiers.open(posted), ALL)).is_empty:
            accept(Tiers.open(posted), rest)
        now = together(now, version)
        assert_proved(posted, first.height, 0, number * version.height)
    assert_is(hot, posted, now)
