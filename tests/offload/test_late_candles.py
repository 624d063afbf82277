"""A trade that comes after its candles have left ClickHouse changes exactly its candles in Iceberg; nothing is lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from config.settings import Settings
from ddl.layers import load_layers
from offload.gate import close_gate
from offload.report import OffloadReport
from offload.run import run
from offload.tables import BY_NAME
from offload.verify import verify
from tests.offload.cold_tables import files_on_disk, files_referenced, read
from tests.offload.hot_tables import HotTables, candles, read_tape

LATER = datetime(2028, 1, 1, tzinfo=UTC)
FRAMES = load_layers().timeframes


@pytest.fixture
def trades(tape: Path) -> pl.DataFrame:
    # Around midnight: two day partitions, one month partition.
    return read_tape(tape).sort("time").slice(9000, 3000)


def late(trades: pl.DataFrame) -> pl.DataFrame:
    """The same trades nine hours later by arrival."""
    return trades.with_columns(pl.col("arrived") + timedelta(hours=9))


def assert_candles_are(settings: Settings, trades: pl.DataFrame) -> None:
    for frame in FRAMES:
        found = read(settings, BY_NAME[frame.view]).sort("exchange", "symbol", "window_start")
        expected = candles(trades, timedelta(seconds=frame.seconds))
        assert_frame_equal(found.select(expected.columns), expected)


def let_all_go(settings: Settings) -> None:
    report = close_gate(settings, drop=True, now=LATER)
    assert report.verdicts
    assert {verdict.state for verdict in report.verdicts} == {"dropped"}


def outcomes(report: OffloadReport) -> set[str]:
    return {part.outcome for part in report.slices if part.table.startswith("gold")}


@pytest.mark.parametrize("before", [2900, 5], ids=["few late trades", "more late trades than there were"])
def test_late_trades_are_added_to_the_candles_that_left(
    settings: Settings, hot: HotTables, trades: pl.DataFrame, before: int
) -> None:
    mixed = trades.sample(fraction=1, shuffle=True, seed=5)
    on_time, some, more = mixed.head(before), late(mixed.slice(before, 60)), late(late(mixed.slice(before + 60, 7)))
    hot.load(on_time)
    run(settings)
    let_all_go(settings)
    hot.load(some)
    assert "rebuilt" in outcomes(run(settings))
    assert_candles_are(settings, pl.concat([on_time, some]))
    hot.load(more)
    run(settings)
    assert_candles_are(settings, pl.concat([on_time, some, more]))
    run(settings, again=True)
    assert_candles_are(settings, pl.concat([on_time, some, more]))
    # The gate knows the late candles, too, and the proof is not disturbed by them.
    assert verify(settings).ok
    let_all_go(settings)
    assert hot.count("gold_ohlcv_1d_state") == hot.count("silver_trades") == 0
    assert verify(settings).ok
    assert files_on_disk(settings) == files_referenced(settings)


def test_candles_wait_for_the_silver_rows_they_are_made_of(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    on_time, rest = trades.head(2900), late(trades.slice(2900))
    hot.load(on_time)
    run(settings)
    let_all_go(settings)
    hot.load(rest)
    assert outcomes(run(settings, layers=("gold",))) == {"kept"}
    assert_candles_are(settings, on_time)
    report = close_gate(settings, drop=True, tables=["gold_ohlcv_1m_state"], now=LATER)
    assert report.held, "Iceberg lacks the late trades"
    run(settings)
    assert_candles_are(settings, trades)
