"""A pin names one version of all cold tables and reads the same rows whatever is offloaded or expired after it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from config.settings import Settings
from offload.maintenance import maintain
from offload.pins import PinError, Pins
from offload.run import run
from offload.tables import BY_NAME, TABLES, ColdTable
from offload.verify import verify
from tests.offload.cold_tables import files_on_disk, files_referenced, load, read
from tests.offload.hot_tables import HotTables, read_tape


@pytest.fixture
def trades(tape: Path) -> pl.DataFrame:
    return read_tape(tape).head(3000)


def pinned(settings: Settings, cold: ColdTable, name: str) -> pl.DataFrame:
    frame = pl.from_arrow(load(settings, cold).scan().use_ref(name).to_arrow())
    assert isinstance(frame, pl.DataFrame)
    return frame.sort(frame.columns)


def test_a_pin_reads_the_same_after_corrections_and_expiry(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    hot.load(trades.head(1500))
    hot.load_left_out(trades.head(1500))
    run(settings)
    before = {cold.name: read(settings, cold) for cold in TABLES}
    pin = Pins(settings).create("backtest")
    assert {part.table: part.rows for part in pin.tables} == {name: frame.height for name, frame in before.items()}
    hot.load(trades.slice(1500))
    for _ in range(2):
        run(settings, again=True)
    maintain(settings, expire_after=timedelta(0), orphan_age=timedelta(0))
    # And one more replacement, which sweeps what dead attempts left in the same folders.
    run(settings, again=True)
    maintain(settings, expire_after=timedelta(0), orphan_age=timedelta(0))
    for cold in TABLES:
        assert_frame_equal(pinned(settings, cold, "backtest"), before[cold.name].sort(before[cold.name].columns))
        assert read(settings, cold).height >= before[cold.name].height
    assert verify(settings).ok
    assert files_on_disk(settings) == files_referenced(settings)
    assert Pins(settings).get("backtest") == pin
    database = Pins(settings).publish("backtest")
    for cold in TABLES:
        assert hot.count(f"{database}.{cold.name}") == before[cold.name].height
    hot.client.command(f"DROP DATABASE {database}")


def test_a_dropped_pin_expires(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    hot.load(trades.head(300))
    hot.load_left_out(trades.head(300))
    run(settings)
    Pins(settings).create("short")
    run(settings, again=True)
    maintain(settings, expire_after=timedelta(0), orphan_age=timedelta(0))
    assert {len(load(settings, cold).metadata.snapshots) for cold in TABLES} == {2}
    Pins(settings).drop("short")
    assert Pins(settings).all() == []
    maintain(settings, expire_after=timedelta(0), orphan_age=timedelta(0))
    assert {len(load(settings, cold).metadata.snapshots) for cold in TABLES} == {1}
    assert files_on_disk(settings) == files_referenced(settings)
    assert verify(settings).ok


def test_a_moment_can_be_pinned(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    hot.load(trades.head(300))
    run(settings)
    moment = datetime.now(UTC)
    hot.load(trades.slice(300))
    run(settings)
    Pins(settings).create("earlier", moment)
    assert pinned(settings, BY_NAME["silver_trades"], "earlier").height == 300
    assert pinned(settings, BY_NAME["gold_ohlcv_1h"], "earlier")["trade_count"].sum() == 300
    with pytest.raises(PinError, match="nothing to pin"):
        Pins(settings).create("before_all", datetime(2020, 1, 1, tzinfo=UTC))


def test_silver_without_its_candles_is_not_pinned(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    hot.load(trades.head(300))
    run(settings, layers=("raw", "bronze", "silver"))
    with pytest.raises(PinError, match="an offload is under way or broke off"):
        Pins(settings).create("uneven")


def test_names_are_checked_and_unique(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    hot.load(trades.head(30))
    run(settings)
    pins = Pins(settings)
    pins.create("once")
    with pytest.raises(PinError, match="exists"):
        pins.create("once")
    with pytest.raises(PinError, match="no pin name"):
        pins.create("Main Branch")
    with pytest.raises(PinError, match="no pin other"):
        pins.drop("other")
