"""Candles that version 0.1 offloaded have no volume by side: no view takes it for 0, and the next run makes it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from polars.testing import assert_frame_equal

from config.settings import Settings
from ddl.layers import STATE_TABLE, load_layers
from offload.clickhouse.client import ClickHouseHttp
from offload.clickhouse.tiers import Tiers
from offload.files.version_hint import publish_hints
from offload.pins import Pins
from offload.proof.verify import verify
from offload.rederive.rewrite import write_file
from offload.retention.gate import close_gate
from offload.retention.union_views import update_union_views
from offload.run import run
from offload.tables.catalog import ColdTier, ensure_tables, open_catalog
from offload.tables.cold_tables import BY_NAME, ColdTable, Layer
from offload.tables.slice_records import PREFIX, read_ledger
from offload.tables.slices import parse_gold_id
from tests.offload.cold_tables import load, read
from tests.offload.hot_tables import HotTables, candles, of_one_hour, read_tape, silver_rows

FRAMES = load_layers().timeframes
SIDES = ("buy_volume", "sell_volume")
LATER = datetime(2028, 1, 1, tzinfo=UTC)
LAYERS: tuple[Layer, ...] = ("silver", "gold")
GATED = ("silver_trades", STATE_TABLE)


@pytest.fixture
def trades(tape: Path) -> pl.DataFrame:
    return of_one_hour(read_tape(tape).sort("time")).slice(9000, 300)


def as_version_0_1_made_it(settings: Settings, cold: ColdTable) -> None:
    """The Gold table with the same candles and ledger, in the columns of version 0.1."""
    catalog, known = open_catalog(settings), load(settings, cold)
    rows = read(settings, cold)
    old = replace(cold, columns=tuple(column for column in cold.columns if column[0] not in SIDES), later={})
    catalog.drop_table(f"{settings.iceberg_namespace}.{cold.name}")
    table = ensure_tables(catalog, settings.iceberg_namespace, (old,))[cold.name]
    properties = {name: value for name, value in known.properties.items() if name.startswith("medallion.")}
    files = []
    for name in read_ledger(known.properties):
        record = json.loads(properties[PREFIX + name])
        del record["by_side"]
        properties[PREFIX + name] = json.dumps(record)
        part = parse_gold_id(cold, name)
        inside = pl.col("window_start").dt.epoch("us").is_between(part.from_us, part.to_us, closed="left")
        path = f"{table.location()}/data/{name}/{record['attempt']}-old.parquet"
        files.append(write_file(table, path, iter([rows.filter(inside & (pl.col("exchange") == part.key))])))
    with table.transaction() as transaction:
        transaction.set_properties(properties)
        with transaction.update_snapshot().fast_append() as snapshot:
            for file in files:
                snapshot.append_data_file(file)


def all_of_version_0_1(settings: Settings) -> None:
    for frame in FRAMES:
        as_version_0_1_made_it(settings, BY_NAME[frame.view])


def assert_all_known(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    for frame in FRAMES:
        truth = candles(trades, timedelta(seconds=frame.seconds))
        found = read(settings, BY_NAME[frame.view]).sort("exchange", "symbol", "window_start")
        assert_frame_equal(found.select(truth.columns), truth)
        shown = hot.client.query(
            f"SELECT toString(sum(buy_volume)), toString(sum(sell_volume)) FROM {frame.exact_view}_all"
        ).result_rows
        assert [tuple(map(float, row)) for row in shown] == [tuple(float(truth[name].sum()) for name in SIDES)]
        assert all(record.by_side for record in read_ledger(load(settings, BY_NAME[frame.view]).properties).values())


@pytest.mark.nightly
def test_hot_candles_are_exported_again(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    hot.load(trades)
    run(Tiers.open(settings), layers=LAYERS)
    all_of_version_0_1(settings)
    report = run(Tiers.open(settings), layers=LAYERS)
    assert {part.outcome for part in report.slices if part.table.startswith("gold")} == {"written"}
    assert_all_known(settings, hot, trades)
    assert verify(Tiers.open(settings), layers=LAYERS).ok
    assert not [part for part in run(Tiers.open(settings), layers=LAYERS).slices if part.table.startswith("gold")], (
        "once is enough"
    )


# Its siblings: test_candles_that_silver_cannot_make_stay, test_late_candles.py.
@pytest.mark.nightly
def test_candles_that_left_are_made_of_silver(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    hot.load(trades)
    run(Tiers.open(settings), layers=LAYERS)
    assert not close_gate(Tiers.open(settings), drop=True, tables=GATED, now=LATER).held
    all_of_version_0_1(settings)
    Pins(ColdTier.open(settings)).create("before_sides")
    tiers = Tiers.open(settings)
    update_union_views(tiers.hot, publish_hints(tiers.cold))
    for view in ("gold_ohlcv_1h_all", "gold_ohlcv_1h_exact_all"):
        assert hot.client.command(f"SELECT sum(trade_count) FROM {view}") == trades.height
        with pytest.raises(DatabaseError, match="medallion offload run"):
            hot.client.command(f"SELECT sum(buy_volume) FROM {view}")
    report = run(Tiers.open(settings), layers=LAYERS)
    assert {part.outcome for part in report.slices if part.table.startswith("gold")} == {"rebuilt"}
    assert_all_known(settings, hot, trades)
    pinned = f"{Pins(ColdTier.open(settings)).publish('before_sides', ClickHouseHttp(settings))}.gold_ohlcv_1h"
    assert hot.client.query(f"SELECT countIf(buy_volume IS NOT NULL), count() > 0 FROM {pinned}").result_rows == [
        (0, True)
    ]


@pytest.mark.nightly
def test_late_trades_meet_candles_of_version_0_1(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    early = trades.head(290)
    hot.load(early)
    run(Tiers.open(settings))
    assert not close_gate(Tiers.open(settings), drop=True, now=LATER).held
    all_of_version_0_1(settings)
    hot.load(trades.slice(290).with_columns(pl.col("arrived") + timedelta(hours=9)))
    run(Tiers.open(settings))
    assert_all_known(settings, hot, trades)
    assert verify(Tiers.open(settings)).ok
    assert not close_gate(Tiers.open(settings), drop=True, now=LATER).held


def test_candles_that_silver_cannot_make_stay(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    hot.insert("silver_trades", silver_rows(trades))
    run(Tiers.open(settings), layers=LAYERS)
    for table in GATED:
        hot.client.command(f"TRUNCATE TABLE {table}")
    as_version_0_1_made_it(settings, BY_NAME["gold_ohlcv_1h"])
    silver = load(settings, BY_NAME["silver_trades"])
    with silver.transaction() as change, change.update_snapshot().overwrite() as without:
        for task in silver.scan().plan_files():
            without.delete_data_file(task.file)
    (kept,) = {
        part.outcome for part in run(Tiers.open(settings), layers=LAYERS).slices if part.table == "gold_ohlcv_1h"
    }
    assert kept == "kept"
    assert read(settings, BY_NAME["gold_ohlcv_1h"])["trade_count"].sum() == trades.height
