"""Days whose hot partitions the gate has let go are corrected everywhere: in Iceberg, in what is still hot, in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from config.settings import Settings
from ddl.layers import STATE_TABLE, load_layers
from offload.clickhouse.tiers import Tiers
from offload.proof.verify import verify
from offload.rederive.run import rederive
from offload.retention.gate import close_gate
from offload.run import run
from offload.tables.cold_tables import BY_NAME, TABLES
from tests.offload.cold_tables import load, read
from tests.offload.hot_tables import HotTables, candles, of_one_hour, read_tape
from tests.offload.rederive.rederiving import FROM, HIGH, LOW, TO, fill, limited, within
from tests.offload.retention.test_gate import LATER

FRAMES = load_layers().timeframes
SILVER = ("silver_trades",)
EVERYTHING = ("silver_trades", STATE_TABLE)


@pytest.fixture
def settings(settings: Settings, brokers: str) -> Settings:
    return settings.model_copy(update={"kafka_bootstrap_servers": brokers})


@pytest.fixture
def trades(tape: Path) -> pl.DataFrame:
    return of_one_hour(read_tape(tape).gather_every(16))


def let_go(settings: Settings, tables: Sequence[str]) -> None:
    report = close_gate(Tiers.open(settings), drop=True, tables=tables, now=LATER)
    assert {verdict.state for verdict in report.verdicts} == {"dropped"}


def assert_shown(hot: HotTables, trades: pl.DataFrame, suffix: str) -> None:
    """The candles that a reader of the views sees, against polars over the trades."""
    for frame in FRAMES:
        made = candles(trades, timedelta(seconds=frame.seconds))
        decimals = {name: kind for name, kind in made.schema.items() if isinstance(kind, pl.Decimal)}
        names = ", ".join(
            f"CAST({name}, 'Decimal(38, {decimals[name].scale})') AS {name}" if name in decimals else name
            for name in made.columns
        )
        found = hot.client.query_arrow(f"SELECT {names} FROM {frame.exact_view}{suffix}", use_strings=True)
        shown = pl.DataFrame(found).with_columns(pl.col("window_start").cast(made.schema["window_start"]))
        shown = shown.cast(made.schema).sort("exchange", "symbol", "window_start")
        assert_frame_equal(shown, made, check_row_order=True)


def assert_all_is(hot: HotTables, trades: pl.DataFrame) -> None:
    """Silver and Gold as the views of hot and cold rows show them."""
    ids = "SELECT count(), uniqExact(exchange, symbol, trade_id), sum(quantity) FROM silver_trades_all"
    (row,) = hot.client.query(ids).result_rows
    assert row == (trades.height, trades.height, trades["qty"].str.to_decimal(scale=18).sum())
    assert_shown(hot, trades, "_all")


# Its sibling: test_late_trades_of_a_day_that_has_left_are_neither_lost_nor_doubled.
@pytest.mark.nightly
def test_hot_candles_follow_a_day_whose_silver_has_left(
    settings: Settings, hot: HotTables, trades: pl.DataFrame, tmp_path: Path
) -> None:
    trades = trades.filter(pl.col("time").dt.day() == 8)
    fill(hot, trades, HIGH)
    run(Tiers.open(settings))
    let_go(settings, SILVER)
    kept = within(trades, LOW)
    new = limited(settings, tmp_path, LOW)
    report = rederive(Tiers.open(new), FROM, TO)
    assert {name.partition("/")[0] for day in report for name in day.published} == {STATE_TABLE}
    assert hot.count("silver_trades") == 0
    assert read(settings, BY_NAME["silver_trades"]).height == kept.height
    assert_shown(hot, kept, "")
    assert_all_is(hot, kept)
    assert verify(Tiers.open(settings)).ok
    # Once more, it finds nothing to change.
    snapshots = {cold.name: load(settings, cold).current_snapshot() for cold in TABLES}
    again = rederive(Tiers.open(new), FROM, TO)
    assert {(day.added, day.removed, day.altered, day.published) for day in again} == {(0, 0, 0, ())}
    assert {cold.name: load(settings, cold).current_snapshot() for cold in TABLES} == snapshots


# Its siblings: test_hot_candles_follow_a_day_whose_silver_has_left, test_late_candles.py.
@pytest.mark.nightly
@pytest.mark.parametrize(
    ("left", "is_offloaded"),
    [
        (SILVER, False),
        pytest.param(EVERYTHING, False, marks=pytest.mark.nightly),
        pytest.param(EVERYTHING, True, marks=pytest.mark.nightly),
    ],
)
def test_late_trades_of_a_day_that_has_left_are_neither_lost_nor_doubled(
    settings: Settings, hot: HotTables, trades: pl.DataFrame, tmp_path: Path, left: Sequence[str], is_offloaded: bool
) -> None:
    fill(hot, trades.head(-100), HIGH)
    run(Tiers.open(settings))
    let_go(settings, left)
    fill(hot, trades.tail(100).with_columns(pl.col("arrived") + timedelta(hours=9)), HIGH)
    if is_offloaded:
        run(Tiers.open(settings))
    new = limited(settings, tmp_path, LOW)
    rederive(Tiers.open(new), FROM, TO)
    kept = within(trades, LOW)
    if not is_offloaded:
        # What Iceberg does not have yet is corrected once it has.
        kept = pl.concat([within(trades.head(-100), LOW), within(trades.tail(100), HIGH)])
        assert_all_is(hot, kept)
        run(Tiers.open(settings))
        rederive(Tiers.open(new), FROM, TO)
        kept = within(trades, LOW)
    assert read(settings, BY_NAME["silver_trades"]).height == kept.height
    assert_all_is(hot, kept)
    run(Tiers.open(settings))
    assert verify(Tiers.open(settings)).ok
    let_go(settings, EVERYTHING)
    assert_all_is(hot, kept)


# Of the fast tier: test_rederive_twice.py.
@pytest.mark.nightly
@pytest.mark.parametrize("left", [SILVER, EVERYTHING])
def test_trades_that_come_again_after_their_day_has_left_count_once_after_a_rederivation(
    settings: Settings, hot: HotTables, trades: pl.DataFrame, tmp_path: Path, left: Sequence[str]
) -> None:
    """The worker takes them as new, since ClickHouse does not have them any more."""
    fill(hot, trades, HIGH)
    run(Tiers.open(settings))
    let_go(settings, left)
    again = trades.tail(100).with_columns(pl.col("arrived") + timedelta(hours=9), pl.col("offset") + 1_000_000)
    fill(hot, again, HIGH)
    run(Tiers.open(settings))
    kept = within(trades, HIGH)
    assert read(settings, BY_NAME["silver_trades"]).height == kept.height + within(again, HIGH).height
    rederive(Tiers.open(limited(settings, tmp_path, HIGH)), FROM, TO)
    assert read(settings, BY_NAME["silver_trades"]).height == kept.height
    assert_all_is(hot, kept)
    run(Tiers.open(settings))
    assert verify(Tiers.open(settings)).ok
    let_go(settings, EVERYTHING)
    assert_all_is(hot, kept)
