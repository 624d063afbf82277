"""A cold layer equals its hot layer and the recording, however often and whenever it was offloaded (invariant 7)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pyiceberg.expressions import AlwaysTrue

from config.settings import Settings
from ddl.layers import load_layers
from offload.clickhouse.tiers import Tiers
from offload.errors import BrokenExportError, HotStoreError
from offload.proof.verify import verify
from offload.run import run
from offload.tables.cold_tables import BY_NAME, TABLES, Layer
from tests.offload.cold_tables import files_on_disk, files_referenced, live_files, load, read
from tests.offload.hot_tables import (
    ARRIVAL,
    HotTables,
    candles,
    dead_letter_rows,
    duplicate_rows,
    of_one_hour,
    raw_rows,
    read_tape,
    silver_rows,
)

HOUR = timedelta(hours=1)


@pytest.fixture
def trades(tape: Path) -> pl.DataFrame:
    return read_tape(tape).gather_every(32)


@pytest.fixture
def few(trades: pl.DataFrame) -> pl.DataFrame:
    """Trades of one hour and one day: one file a table."""
    return of_one_hour(trades).filter(pl.col("time").dt.day() == 8)


def _gold_truth(trades: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {frame.view: candles(trades, timedelta(seconds=frame.seconds)) for frame in load_layers().timeframes}


def _assert_cold_is(settings: Settings, trades: pl.DataFrame) -> None:
    """Silver and every Gold table, cell by cell, against polars over the trades."""
    silver = read(settings, BY_NAME["silver_trades"]).with_columns(pl.col("sequence").cast(pl.UInt64))
    truth = silver_rows(trades).with_columns(pl.col(pl.UInt32, pl.UInt64).exclude("sequence").cast(pl.Int64))
    columns = truth.columns
    assert_frame_equal(silver.select(columns).sort("raw_offset"), truth.sort("raw_offset"))
    for view, expected in _gold_truth(trades).items():
        found = read(settings, BY_NAME[view]).sort("exchange", "symbol", "window_start")
        assert_frame_equal(found.select(expected.columns), expected)


def test_every_table_reads_back_equal_to_the_recording(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    trades = of_one_hour(trades)
    hot.load(trades)
    hot.load_left_out(trades)
    hot.load_series()
    report = run(Tiers.open(settings))
    assert {part.table for part in report.slices} == {cold.name for cold in TABLES}
    _assert_cold_is(settings, trades)
    raw = read(settings, BY_NAME["raw_trades"]).sort("raw_offset")
    truth = raw_rows(trades).sort("_offset")
    assert raw["raw_json"].to_list() == truth["raw_json"].to_list()
    for column in ("exchange", "symbol", "trade_id", "price", "quantity", "timestamp_raw", "side", "ingested_at"):
        assert raw[column].to_list() == truth[column].to_list(), column
    bronze = read(settings, BY_NAME["bronze_trades"]).sort("raw_offset")
    assert bronze["price_text"].to_list() == trades["price"].to_list()
    assert bronze["timestamp"].to_list() == trades["time"].to_list()
    dead_letters = read(settings, BY_NAME["dlq_trades"]).sort("raw_offset")
    written = dead_letter_rows(trades).sort("raw_offset")
    for column in ("reason", "value", "limit", "price_text", "payload", "rejected_at", "published_at"):
        assert dead_letters[column].to_list() == written[column].to_list(), column
    repeats = read(settings, BY_NAME["duplicate_trades"]).sort("raw_offset")
    for column in ("trade_id", "timestamp", "insert_token", "seen_at"):
        assert repeats[column].to_list() == duplicate_rows(trades).sort("raw_offset")[column].to_list(), column
    checked = verify(Tiers.open(settings))
    assert checked.ok
    assert {table.table: table.cold_rows for table in checked.tables}["silver_trades"] == trades.height
    assert files_on_disk(settings) == files_referenced(settings)


def test_candles_equal_the_published_ground_truth(
    settings: Settings, hot: HotTables, tape: Path, recordings: Path
) -> None:
    hot.load(read_tape(tape))
    run(Tiers.open(settings), layers=("gold",))
    path = recordings / "expected" / "binance_spot_trades.candles_1m.csv.gz"
    names = ("open", "high", "low", "close", "volume", "quote_volume")
    expected = pl.read_csv(path, schema_overrides=dict.fromkeys(names, pl.String)).sort("symbol", "open_time_ms")
    found = read(settings, BY_NAME["gold_ohlcv_1m"]).sort("symbol", "window_start")
    assert found["window_start"].dt.epoch("ms").to_list() == expected["open_time_ms"].to_list()
    for name in names:
        scale = 20 if name == "quote_volume" else 18
        assert found[name].to_list() == expected[name].str.to_decimal(scale=scale).to_list(), name


# Its siblings: rederive/test_rederive.py::test_a_changed_limit_is_followed, whose offload finds nothing to do;
# test_only_the_touched_slices_are_written_and_what_left_stays forces a run.
@pytest.mark.nightly
def test_a_second_run_does_nothing_and_a_forced_one_replaces(
    settings: Settings, hot: HotTables, few: pl.DataFrame
) -> None:
    hot.load(few)
    first = run(Tiers.open(settings))
    snapshots = {cold.name: load(settings, cold).metadata.snapshots for cold in TABLES}
    second = run(Tiers.open(settings))
    assert all(part.outcome == "unchanged" for part in second.slices)
    assert {cold.name: load(settings, cold).metadata.snapshots for cold in TABLES} == snapshots
    third = run(Tiers.open(settings), again=True)
    assert [(part.slice, part.rows) for part in third.slices] == [(part.slice, part.rows) for part in first.slices]
    assert all(part.outcome == "written" for part in third.slices)
    _assert_cold_is(settings, few)
    assert verify(Tiers.open(settings)).ok
    assert files_on_disk(settings) == files_referenced(settings)


# Its siblings: test_faults.py adds rows to hours that were offloaded, test_late_candles.py late trades to candles.
@pytest.mark.nightly
def test_late_rows_reach_an_hour_that_was_offloaded(settings: Settings, hot: HotTables, few: pl.DataFrame) -> None:
    is_late = pl.col("offset") % 7 == 0
    hot.load(few.filter(~is_late))
    run(Tiers.open(settings))
    # Late in two ways: rows of an old hour that show up afterwards, and old event times in a new hour.
    late = few.filter(is_late)
    reappeared, others = late.head(late.height // 2), late.slice(late.height // 2)
    new_hour = others.with_columns(pl.col("arrived") + timedelta(hours=5))
    everything = pl.concat([few.filter(~is_late), reappeared, new_hour])
    hot.load(pl.concat([reappeared, new_hour]))
    run(Tiers.open(settings))
    _assert_cold_is(settings, everything)
    assert verify(Tiers.open(settings)).ok


def test_only_the_touched_slices_are_written_and_what_left_stays(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    layers: tuple[Layer, ...] = ("silver", "gold")
    trades = of_one_hour(trades)
    hot.load(trades)
    run(Tiers.open(settings), layers=layers)
    extra = trades.head(1).with_columns(
        pl.lit("5").alias("trade_id"),
        pl.lit(99_999_999, pl.UInt64).alias("offset"),
        pl.lit(ARRIVAL + 9 * HOUR).dt.cast_time_unit("us").alias("arrived"),
    )
    hot.insert("silver_trades", silver_rows(extra))
    report = run(Tiers.open(settings), layers=layers)
    written = {(part.table, part.slice) for part in report.slices if part.outcome == "written"}
    assert {piece for table, piece in written if table == "silver_trades"} == {f"{ARRIVAL + 9 * HOUR:%Y-%m-%dT%H}"}
    assert {piece for table, piece in written if table == "gold_ohlcv_1m"} == {"binance/2024-08-08"}
    everything = pl.concat([trades, extra])
    _assert_cold_is(settings, everything)
    # Hot rows go; not even a forced run takes those of Iceberg with them.
    hot.client.command("ALTER TABLE silver_trades DROP PARTITION 20240808")
    hot.client.command("ALTER TABLE gold_ohlcv_state DROP PARTITION ID '60-20240808'")
    report = run(Tiers.open(settings), again=True, layers=layers)
    assert "silver_trades" in {part.table for part in report.slices if part.outcome == "kept"}
    _assert_cold_is(settings, everything)


def test_the_open_hour_is_exported_only_on_request_and_replaced_later(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    live = trades.with_columns(pl.lit(now).dt.cast_time_unit("us").alias("arrived"))
    layers: tuple[Layer, ...] = ("silver", "gold")
    hot.insert("silver_trades", silver_rows(live.head(100)))
    assert run(Tiers.open(settings), layers=layers).written("silver_trades") == 0
    first = run(Tiers.open(settings), until_now=True, layers=layers)
    assert first.written("silver_trades") == 100
    assert not any(part.final for part in first.slices if part.table == "silver_trades")
    hot.insert("silver_trades", silver_rows(live.slice(100, 50)))
    assert run(Tiers.open(settings), until_now=True, layers=layers).written("silver_trades") == 150
    _assert_cold_is(settings, live.head(150))
    assert verify(Tiers.open(settings), include_open=True, layers=layers).ok
    assert any(table.slices for table in verify(Tiers.open(settings), layers=("silver",)).tables)


# Its sibling: test_verify.py::test_candles_that_have_not_ended_are_named, which finds them left out.
@pytest.mark.nightly
def test_an_open_candle_is_not_exported_as_final(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    # Trades of this very minute, that arrived (as their stamps say) three hours ago: the hour of arrival is closed.
    open_now = trades.head(20).with_columns(
        pl.lit(now).dt.cast_time_unit("us").alias("time"),
        pl.lit(now - 3 * HOUR).dt.cast_time_unit("us").alias("arrived"),
    )
    hot.load(open_now)
    run(Tiers.open(settings))
    assert read(settings, BY_NAME["silver_trades"]).height == 20
    assert read(settings, BY_NAME["gold_ohlcv_1d"]).height == 0
    run(Tiers.open(settings), until_now=True)
    assert read(settings, BY_NAME["gold_ohlcv_1d"])["trade_count"].sum() == 20


def test_bronze_is_the_same_before_and_after_merges(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    trades = of_one_hour(trades)
    # Kraken re-sends trades: again in the same hour, and again in a later one, under other coordinates.
    again = trades.head(100).with_columns(pl.col("offset") + 100_000, pl.col("arrived") + timedelta(seconds=1))
    later = trades.head(60).with_columns(pl.col("offset") + 200_000, pl.col("arrived") + 6 * HOUR)
    hot.client.command("SYSTEM STOP MERGES bronze_trades")
    for part in (trades, again, later):
        hot.insert("trades_raw", raw_rows(part))
    report = run(Tiers.open(settings), layers=("raw", "bronze"))
    assert report.rows("raw_trades") == trades.height + 160
    assert report.rows("bronze_trades") == trades.height + 60
    assert verify(Tiers.open(settings), layers=("raw", "bronze")).ok
    hot.client.command("SYSTEM START MERGES bronze_trades")
    hot.client.command("OPTIMIZE TABLE bronze_trades FINAL")
    assert hot.count("bronze_trades") == trades.height
    merged = verify(Tiers.open(settings), layers=("bronze",))
    assert merged.ok
    assert merged.tables[0].superseded == 60
    assert run(Tiers.open(settings), layers=("bronze",)).written("bronze_trades") == 0


def test_a_sum_that_does_not_fit_fails_loudly_and_leaves_nothing(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    hot.insert("silver_trades", silver_rows(trades))
    before = hot.client.command("SELECT max(window_start) FROM gold_ohlcv_state WHERE frame = 3600")
    hot.client.command(
        "INSERT INTO gold_ohlcv_state SELECT * REPLACE (toDecimal256('123456789012345678901', 18) AS volume)"
        f" FROM gold_ohlcv_state WHERE frame = 3600 AND window_start = '{before}' LIMIT 1"
    )
    with pytest.raises((HotStoreError, BrokenExportError), match="needs more than 38 digits"):
        run(Tiers.open(settings), layers=("gold",))
    assert read(settings, BY_NAME["gold_ohlcv_1h"]).height == 0
    assert files_on_disk(settings) == files_referenced(settings)


# test_other_engines.py reads the tables with them.
@pytest.mark.nightly
def test_every_cold_table_has_what_other_engines_need(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    hot.load(trades.head(100))
    hot.load_left_out(trades.head(100))
    hot.load_series()
    run(Tiers.open(settings))
    for cold in TABLES:
        table = load(settings, cold)
        assert table.name_mapping() is not None
        assert table.scan(row_filter=AlwaysTrue()).count() > 0
        assert [field.name for field in table.spec().fields] == [
            f"{cold.partition_time}_{cold.period}",
            cold.partition_by,
        ]
        assert all(field.doc for field in table.schema().fields)
        for path in live_files(settings, cold):
            rows = pl.read_parquet(path, columns=list(cold.sort))
            assert_frame_equal(rows, rows.sort(cold.sort))
