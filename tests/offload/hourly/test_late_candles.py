"""A trade that comes after its candles have left ClickHouse changes exactly its candles in Iceberg; nothing is lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from config.settings import Settings
from ddl.layers import STATE_TABLE, load_layers
from offload.clickhouse.client import ClickHouseHttp, Parameters
from offload.clickhouse.tiers import Tiers
from offload.proof.verify import verify
from offload.report import OffloadReport
from offload.retention.gate import close_gate
from offload.run import run
from offload.tables.cold_tables import BY_NAME, Layer
from tests.offload.cold_tables import files_on_disk, files_referenced, read
from tests.offload.hot_tables import HotTables, candles, of_one_hour, read_tape, silver_rows

LATER = datetime(2028, 1, 1, tzinfo=UTC)
FRAMES = load_layers().timeframes
LAYERS: tuple[Layer, ...] = ("silver", "gold")
GATED = ("silver_trades", STATE_TABLE)


@pytest.fixture
def trades(tape: Path) -> pl.DataFrame:
    return of_one_hour(read_tape(tape).sort("time")).slice(9000, 3000)


def late(trades: pl.DataFrame) -> pl.DataFrame:
    """The same trades nine hours later by arrival."""
    return trades.with_columns(pl.col("arrived") + timedelta(hours=9))


def assert_candles_are(settings: Settings, trades: pl.DataFrame) -> None:
    for frame in FRAMES:
        found = read(settings, BY_NAME[frame.view]).sort("exchange", "symbol", "window_start")
        expected = candles(trades, timedelta(seconds=frame.seconds))
        assert_frame_equal(found.select(expected.columns), expected)


def let_all_go(settings: Settings) -> None:
    report = close_gate(Tiers.open(settings), drop=True, tables=GATED, now=LATER)
    assert report.verdicts
    assert {verdict.state for verdict in report.verdicts} == {"dropped"}


def assert_all_may_go(settings: Settings) -> None:
    """Iceberg has what is hot, which a look without a drop tells."""
    report = close_gate(Tiers.open(settings), tables=GATED, now=LATER)
    assert report.verdicts
    assert {verdict.state for verdict in report.verdicts} == {"confirmed"}


class Noting(ClickHouseHttp):
    """Notes what ClickHouse is asked to describe."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.described: list[str] = []

    def rows(self, sql: str, parameters: Parameters) -> list[dict[str, Any]]:
        if "\nDESCRIBE" in sql:
            self.described.append(sql)
        return super().rows(sql, parameters)


def outcomes(report: OffloadReport) -> set[str]:
    return {part.outcome for part in report.slices if part.table.startswith("gold")}


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(2900, id="few late trades", marks=pytest.mark.nightly),
        pytest.param(5, id="more late trades than there were"),
    ],
)
def test_late_trades_are_added_to_the_candles_that_left(
    settings: Settings, hot: HotTables, trades: pl.DataFrame, before: int
) -> None:
    mixed = trades.sample(fraction=1, shuffle=True, seed=5)
    on_time, some, more = mixed.head(before), late(mixed.slice(before, 60)), late(late(mixed.slice(before + 60, 7)))
    hot.load(on_time)
    run(Tiers.open(settings), layers=LAYERS)
    let_all_go(settings)
    hot.load(some)
    assert "rebuilt" in outcomes(run(Tiers.open(settings), layers=LAYERS))
    assert_candles_are(settings, pl.concat([on_time, some]))
    hot.load(more)
    store = Noting(settings)
    run(Tiers.open(settings, store), layers=LAYERS)
    assert len(store.described) == len(set(store.described)) > 0, "types of columns are asked for once"
    assert_candles_are(settings, pl.concat([on_time, some, more]))
    # The gate knows the late candles, too, and the proof is not disturbed by them.
    assert verify(Tiers.open(settings), layers=LAYERS).ok
    assert_all_may_go(settings)
    assert files_on_disk(settings) == files_referenced(settings)


def as_matches(trades: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of Silver, of which every fifth sums up three matches and every seventh is no market trade; what of them
    candles count."""
    number = pl.int_range(pl.len())
    rows = silver_rows(trades).with_columns(
        pl.when(number % 5 == 0).then(3).otherwise(1).cast(pl.UInt32).alias("match_count"),
        pl.when(number % 7 == 0).then(pl.lit("block")).otherwise(pl.lit("market")).alias("trade_kind"),
    )
    return rows, rows.filter(pl.col("trade_kind") == "market")


@pytest.mark.nightly
def test_matches_and_kinds_do_not_hide_that_candles_left(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    rows, counted = as_matches(trades.sample(fraction=1, shuffle=True, seed=6))
    # Late rows stand for more trades than Iceberg has rows.
    some = rows.slice(2900).with_columns(
        pl.col("validated_at") + timedelta(hours=9), pl.lit(50_000, pl.UInt32).alias("match_count")
    )
    hot.insert("silver_trades", rows.head(2900))
    assert outcomes(run(Tiers.open(settings))) == {"written"}, "whole candles are exported as they are"
    let_all_go(settings)
    hot.insert("silver_trades", some)
    assert outcomes(run(Tiers.open(settings))) == {"rebuilt"}
    assert verify(Tiers.open(settings)).ok
    late_ones = some.filter(pl.col("trade_kind") == "market")
    everything = pl.concat([counted.join(late_ones, on="trade_id", how="anti"), late_ones])
    for frame in FRAMES:
        made = (
            everything.group_by(
                "symbol", pl.col("timestamp").dt.truncate(timedelta(seconds=frame.seconds)).alias("window_start")
            )
            .agg(pl.col("quantity").sum().alias("volume"), pl.col("match_count").sum().cast(pl.Int64).alias("trades"))
            .sort("symbol", "window_start")
        )
        found = read(settings, BY_NAME[frame.view]).sort("symbol", "window_start")
        assert_frame_equal(found.select("symbol", "window_start", "volume", trades="trade_count"), made)
    let_all_go(settings)


# Its siblings: test_offload.py::test_an_open_candle_is_not_exported_as_final.
@pytest.mark.nightly
def test_candles_wait_for_the_silver_rows_they_are_made_of(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    on_time, rest = trades.head(2900), late(trades.slice(2900))
    hot.load(on_time)
    run(Tiers.open(settings), layers=LAYERS)
    let_all_go(settings)
    hot.load(rest)
    assert outcomes(run(Tiers.open(settings), layers=("gold",))) == {"kept"}
    assert_candles_are(settings, on_time)
    report = close_gate(Tiers.open(settings), drop=True, tables=["gold_ohlcv_state"], now=LATER)
    assert report.held, "Iceberg lacks the late trades"
    run(Tiers.open(settings), layers=LAYERS)
    assert_candles_are(settings, trades)
