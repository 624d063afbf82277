"""The copy of the watermarks in ClickHouse says what Iceberg says, and is repaired when it does not."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from config.settings import Settings
from ddl.layers import load_layers
from offload.clickhouse.client import ClickHouseHttp
from offload.clickhouse.tiers import Tiers
from offload.run import run
from offload.tables.cold_tables import TABLES
from offload.tables.slice_records import read_ledger
from tests.offload.cold_tables import load
from tests.offload.hot_tables import ARRIVAL, HotTables, of_one_hour, read_tape
from tests.offload.hourly.test_service import eventually


@pytest.fixture
def trades(tape: Path) -> pl.DataFrame:
    return of_one_hour(read_tape(tape)).head(1000)


def mirrored(settings: Settings) -> dict[tuple[str, str], tuple[Any, ...]]:
    sql = "SELECT table_name, slice, cold_rows, is_final, attempt FROM offload_watermarks FINAL"
    rows = ClickHouseHttp(settings).rows(sql, {})
    return {(r["table_name"], r["slice"]): (r["cold_rows"], bool(r["is_final"]), r["attempt"]) for r in rows}


def truth(settings: Settings) -> dict[tuple[str, str], tuple[Any, ...]]:
    return {
        (cold.name, name): (record.rows, record.final, record.attempt)
        for cold in TABLES
        for name, record in read_ledger(load(settings, cold).properties).items()
    }


def test_the_mirror_follows_every_run_and_is_repaired(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    hot.load(trades.head(600))
    hot.load_series("fear_greed")
    run(Tiers.open(settings))
    assert mirrored(settings) == truth(settings)
    assert len(truth(settings)) == 3 + len(load_layers().timeframes) + 3, "one slice of each table that has rows"
    (progress,) = ClickHouseHttp(settings).rows(
        "SELECT complete_until, rows FROM offload_progress WHERE table_name = 'silver_trades'", {}
    )
    assert progress["complete_until"].replace(tzinfo=ARRIVAL.tzinfo) == ARRIVAL + timedelta(hours=2)
    assert progress["rows"] == 600
    hot.load(trades.slice(600))
    run(Tiers.open(settings))
    assert mirrored(settings) == truth(settings)
    # The copy was lost, or a run died before it wrote it; and a row of a warehouse that is no more.
    hot.client.command("TRUNCATE TABLE offload_watermarks")
    hot.client.command("INSERT INTO offload_watermarks (table_name, slice) VALUES ('silver_trades', '2020-01-01T00')")
    assert len(mirrored(settings)) == 1
    run(Tiers.open(settings))
    wanted = truth(settings)
    assert {key: value for key, value in mirrored(settings).items() if key in wanted} == wanted
    eventually(lambda: _assert_same(mirrored(settings), wanted))


def _assert_same(found: object, wanted: object) -> None:
    assert found == wanted
