"""The views of hot and cold rows show every trade and candle once, wherever its partition is."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from config.settings import Settings
from ddl.layers import STATE_TABLE, load_layers
from offload.clickhouse.client import ClickHouseHttp, Parameters
from offload.clickhouse.tiers import Tiers
from offload.files.version_hint import publish_hints
from offload.maintain.expiry import maintain
from offload.retention.gate import close_gate
from offload.retention.union_views import UnionView, update_union_views
from offload.run import run
from offload.tables.catalog import ColdTier
from offload.tables.cold_tables import BY_NAME, Layer
from series.declaration import load_series
from tests.offload.cold_tables import load
from tests.offload.conftest import new_settings
from tests.offload.hot_tables import HotTables, candles, of_one_hour, read_tape, silver_rows

LATER = datetime(2028, 1, 1, tzinfo=UTC)
# Between the ends of retention of the two days (see `trades`): the first may leave Silver and the candles up to 30m.
BETWEEN = datetime(2026, 2, 20, tzinfo=UTC)
LAYERS: tuple[Layer, ...] = ("silver", "gold")
TABLES = ("silver_trades", STATE_TABLE)
FRAMES = load_layers().timeframes
# Frames that are kept equally long share partitions, and one text makes the views of all.
ONE_OF_A_CLASS = tuple(next(iter(kept.frames)) for kept in load_layers().candles)
GATED = TABLES
# Tables, and what the views of both tiers were told of them.
Lost = tuple[HotTables, list[UnionView]]


@pytest.fixture(scope="module")
def trades(tape: Path) -> pl.DataFrame:
    """Two days of event time; those of the second arrived a month after those of the first."""
    second = pl.col("time") >= datetime(2024, 8, 9, tzinfo=UTC)
    moved = pl.when(second).then(pl.col("arrived") + timedelta(days=31)).otherwise(pl.col("arrived"))
    return of_one_hour(read_tape(tape)).tail(800).with_columns(moved.alias("arrived"))


@pytest.fixture(scope="module")
def lost(http_port: int, trades: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lost]:
    """All trades were offloaded, and the hot tier lost its rows. What the tests do to it changes no answer."""
    hot = HotTables(new_settings(http_port, tmp_path_factory.mktemp("lost")))
    hot.load(trades)
    run(Tiers.open(hot.settings), layers=LAYERS)
    for table in TABLES:
        hot.client.command(f"TRUNCATE TABLE {table}")
    hot.insert("silver_trades", silver_rows(trades.head(1)))
    tiers = Tiers.open(hot.settings)
    yield hot, update_union_views(tiers.hot, publish_hints(tiers.cold), check=True)
    hot.give_back()


def ask(hot: HotTables, sql: str) -> pl.DataFrame:
    """As Arrow, where an Enum is a number."""
    answer = hot.client.raw_query(f"{sql} SETTINGS output_format_arrow_string_as_string = 1", fmt="ArrowStream")
    return pl.read_ipc_stream(io.BytesIO(answer))


def assert_all(hot: HotTables, trades: pl.DataFrame, codes: tuple[str, ...] = ("1m",)) -> None:
    """Silver's view and those of some time frames show exactly what polars makes of all trades that ever arrived."""
    truth = silver_rows(trades)
    order = ["exchange", "symbol", "timestamp", "trade_id"]
    found = ask(hot, f"SELECT {', '.join(truth.columns)} FROM silver_trades_all")
    assert_frame_equal(found.sort(order), truth.sort(order), check_dtypes=False)
    for frame in (frame for frame in FRAMES if frame.code in codes):
        true_candles = candles(trades, timedelta(seconds=frame.seconds))
        market = ["exchange", "symbol", "window_start"]
        found = ask(hot, f"SELECT * FROM {frame.exact_view}_all").sort(market)
        assert found["is_closed"].all()
        assert found["is_complete"].all()
        assert_frame_equal(found.select(true_candles.columns), true_candles, check_dtypes=False, check_exact=True)
        # The nearest double of a decimal is that of its text.
        doubles = true_candles.with_columns(pl.col(pl.Decimal).cast(pl.String).cast(pl.Float64))
        shown = ask(hot, f"SELECT * FROM {frame.view}_all").sort(market)
        assert shown.schema["volume"] == pl.Float64
        assert_frame_equal(shown.select(doubles.columns), doubles, check_dtypes=False, check_exact=True)


def late(trades: pl.DataFrame) -> pl.DataFrame:
    """Two trades for the first day, a year later: one opens its candle at the highest price, one is a new market's."""
    first = trades.sort("time").head(1)
    arrived = pl.lit(datetime(2027, 1, 5, 12, tzinfo=UTC)).dt.cast_time_unit("us").alias("arrived")
    opening = first.with_columns(
        pl.lit("7").alias("trade_id"),
        pl.lit("99999.5").alias("price"),
        pl.col("time").dt.truncate("1m"),
        pl.lit(90_000_000, pl.UInt64).alias("offset"),
    )
    stranger = opening.with_columns(
        pl.lit("SOLUSDT").alias("symbol"), pl.lit("8").alias("trade_id"), pl.col("offset") + 1
    )
    return pl.concat([opening, stranger]).with_columns(arrived)


# Of the fast tier: serving/test_seam.py.
@pytest.mark.nightly
def test_every_row_counts_once_wherever_its_partition_is(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    early = trades.head(500)
    hot.load(early)
    run(Tiers.open(settings), layers=LAYERS)
    assert_all(hot, early)  # hot and cold alike
    hot.load(trades.slice(500))
    assert_all(hot, trades)  # more is hot than cold
    run(Tiers.open(settings), layers=LAYERS)
    close_gate(Tiers.open(settings), drop=True, tables=GATED, now=BETWEEN)
    assert 0 < hot.count("silver_trades") < trades.height
    assert_all(hot, trades)  # one day is hot, one cold
    close_gate(Tiers.open(settings), drop=True, tables=GATED, now=LATER)
    assert {hot.count(table) for table in TABLES} == {0}
    assert_all(hot, trades)  # all is cold
    hot.load(trades.head(5))
    assert_all(hot, trades)  # some trades are sent again
    more = late(trades)
    hot.load(more)
    everything = pl.concat([trades, more])
    assert_all(hot, everything, ONE_OF_A_CLASS)  # a candle of which the hot tier has one trade
    run(Tiers.open(settings), layers=LAYERS)
    assert_all(hot, everything)  # and those trades are in Iceberg, too
    close_gate(Tiers.open(settings), drop=True, tables=["silver_trades"], now=LATER)
    assert_all(hot, everything)


# Its siblings: test_every_row_counts_once_wherever_its_partition_is reads the same views.
@pytest.mark.nightly
def test_the_time_asked_for_decides_which_files_are_read(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    days = [trades.with_columns(pl.col("time") + timedelta(days=2 * n), pl.col("offset") + n * 4000) for n in range(3)]
    everything = pl.concat([day.with_columns(pl.col("trade_id") + str(n)) for n, day in enumerate(days)])
    hot.load(everything)
    run(Tiers.open(settings), layers=LAYERS)
    close_gate(Tiers.open(settings), drop=True, tables=TABLES, now=LATER)

    def files(sql: str) -> int:
        def read() -> int:
            return int(
                str(hot.client.command("SELECT value FROM system.events WHERE event = 'EngineFileLikeReadFiles'"))
            )

        before = read()
        hot.client.command(sql)
        return read() - before

    all_files = len(list(load(settings, BY_NAME["silver_trades"]).scan().plan_files()))
    assert files("SELECT sum(quantity) FROM silver_trades_all") == all_files == 6
    day = "timestamp >= '2024-08-11 00:00:00' AND timestamp < '2024-08-12 00:00:00'"
    assert files(f"SELECT sum(quantity) FROM silver_trades_all WHERE {day}") <= 1
    assert files("SELECT sum(quantity) FROM silver_trades_all WHERE timestamp >= '2025-01-01'") == 0
    assert files("SELECT sum(quantity) FROM silver_trades_all WHERE exchange = 'kraken'") == 0
    candles_files = len(list(load(settings, BY_NAME["gold_ohlcv_1m"]).scan().plan_files()))
    assert files("SELECT sum(volume) FROM gold_ohlcv_1m_all") == candles_files == 6
    assert files("SELECT sum(volume) FROM gold_ohlcv_1m_all WHERE toDate(window_start) = '2024-08-11'") == 1
    assert files("SELECT sum(volume) FROM gold_ohlcv_1m_all WHERE window_start >= '2025-01-01 00:00:00'") == 0


# Its siblings: test_every_row_counts_once_wherever_its_partition_is.
@pytest.mark.nightly
def test_readers_see_all_rows_while_partitions_leave(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    hot.load(trades)
    run(Tiers.open(settings), layers=LAYERS)
    stop = threading.Event()
    seen: set[tuple[str, str]] = set()
    looks = [0, 0]

    def watch(number: int, sql: str) -> None:
        client = hot.connect()
        while not stop.is_set():
            seen.add((sql, str(client.command(sql))))
            looks[number] += 1

    questions = (
        "SELECT concat(toString(count()), ' ', toString(uniqExact(trade_id))) FROM silver_trades_all",
        "SELECT toString(sum(trade_count)) FROM gold_ohlcv_1m_all",
    )
    threads = [threading.Thread(target=watch, args=pair) for pair in enumerate(questions)]
    for thread in threads:
        thread.start()
    try:
        close_gate(Tiers.open(settings), drop=True, tables=TABLES, now=LATER)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert hot.count("silver_trades") == 0
    assert min(looks) > 0
    assert seen == {(questions[0], f"{trades.height} {trades.height}"), (questions[1], str(trades.height))}


class Dies(ClickHouseHttp):
    """Dies when the gate is about to drop a partition that it has moved."""

    def command(self, sql: str, parameters: Parameters) -> None:
        if "DROP PARTITION" in sql:
            raise ConnectionError
        super().command(sql, parameters)


# Readers look at these moments in the test above, too.
@pytest.mark.nightly
def test_a_gate_that_died_between_the_move_and_the_drop_changes_no_answer(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    hot.load(trades)
    run(Tiers.open(settings), layers=LAYERS)
    for table in TABLES:
        with pytest.raises(ConnectionError):
            close_gate(Tiers.open(settings, Dies(settings)), drop=True, tables=[table], now=LATER)
        assert hot.count(f"{table}_leaving") > 0
    assert_all(hot, trades)
    close_gate(Tiers.open(settings), drop=True, tables=TABLES, now=LATER)
    assert_all(hot, trades)


def test_a_hot_tier_that_lost_rows_shows_those_of_iceberg(lost: Lost, trades: pl.DataFrame) -> None:
    hot, views = lost
    # Raw was not offloaded, and there is no series.
    assert {view.view for view in views if not view.marked} == {
        "trades_raw_all", *(f"{series.snapshots}_all" for series in load_series()),
    }  # fmt: skip
    assert_all(hot, trades)


def test_metadata_that_no_catalog_took_is_not_read(lost: Lost, trades: pl.DataFrame) -> None:
    hot, _ = lost
    for name in ("silver_trades", "gold_ohlcv_1m"):
        table = load(hot.settings, BY_NAME[name])
        folder = Path(table.location().removeprefix("file://")) / "metadata"
        current = Path(table.metadata_location.removeprefix("file://"))
        number = int(current.name.partition("-")[0]) + 1
        # A commit that lost wrote this: a table without rows.
        empty = sorted(folder.glob("00000-*.metadata.json"))[0]
        (folder / f"{number:05d}-00000000-0000-0000-0000-000000000000.metadata.json").write_bytes(empty.read_bytes())
    assert_all(hot, trades)


def test_upkeep_leaves_the_views_readable(lost: Lost, trades: pl.DataFrame) -> None:
    hot, _ = lost
    maintain(ColdTier.open(hot.settings), expire_after=timedelta(0), orphan_age=timedelta(0))
    assert_all(hot, trades)


def test_every_column_of_the_views_has_a_comment(lost: Lost) -> None:
    hot, _ = lost
    database = hot.settings.clickhouse_database
    found = ask(
        hot,
        f"SELECT table, name, comment FROM system.columns WHERE database = '{database}' AND endsWith(table, '_all')",
    )
    assert set(found["table"]) == set(load_layers().union_views)
    assert found.filter(pl.col("comment") == "").rows() == []
