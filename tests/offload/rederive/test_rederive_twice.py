"""A re-derivation leaves each trade once, however often Silver had it."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from config.settings import Settings
from offload.clickhouse.tiers import Tiers
from offload.rederive.run import rederive
from offload.run import run
from offload.tables.cold_tables import BY_NAME
from tests.offload.cold_tables import read
from tests.offload.hot_tables import HotTables, read_tape, silver_rows
from tests.offload.rederive.rederiving import FROM, HIGH, TO, assert_proved, fill, limited, within


def test_rows_that_silver_has_twice_leave(settings: Settings, hot: HotTables, tape: Path, tmp_path: Path) -> None:
    """Some of the same message, as after rows were restored twice, and some of another message of the trade."""
    trades = within(read_tape(tape), HIGH).filter(pl.col("time").dt.day() == 8, pl.col("offset") % 64 == 0)
    fill(hot, trades, HIGH)
    hot.insert("silver_trades", silver_rows(trades.slice(10, 5)))
    again = trades.slice(20, 7).with_columns(pl.col("offset") + 1_000_000, pl.col("arrived") + pl.duration(seconds=1))
    fill(hot, again, HIGH)
    run(Tiers.open(settings), until_now=True)
    changed = rederive(Tiers.open(limited(settings, tmp_path, HIGH)), FROM, TO)
    assert [(day.added, day.removed, day.altered) for day in changed] == [(0, 5 + 7, 0)]
    assert_proved(settings, trades.height, 7, 0)
    counts = "SELECT count(), (SELECT sum(trade_count) FROM gold_ohlcv_1d) FROM silver_trades"
    assert hot.client.query(counts).result_rows == [(trades.height, trades.height)]
    assert read(settings, BY_NAME["silver_trades"]).height == trades.height
