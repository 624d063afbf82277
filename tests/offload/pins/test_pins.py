"""A pin names one version of all cold tables and reads the same rows whatever is offloaded or expired after it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from config.settings import Settings
from offload.clickhouse.client import ClickHouseHttp
from offload.clickhouse.tiers import Tiers
from offload.errors import WarehouseError
from offload.maintain.expiry import maintain
from offload.pins import PinError, Pins
from offload.proof.verify import verify
from offload.run import run
from offload.tables.branches import repair_branches
from offload.tables.catalog import ColdTier, open_catalog
from offload.tables.cold_tables import BY_NAME, TABLES, ColdTable, Layer
from tests.offload.cold_tables import files_on_disk, files_referenced, load, read
from tests.offload.conftest import new_settings
from tests.offload.hot_tables import HotTables, of_one_hour, read_tape, silver_rows


@pytest.fixture(scope="module")
def trades(tape: Path) -> pl.DataFrame:
    return of_one_hour(read_tape(tape)).head(600)


@pytest.fixture(scope="module")
def one_trade(http_port: int, trades: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """One trade, offloaded. A test drops the pins that it creates."""
    hot = HotTables(new_settings(http_port, tmp_path_factory.mktemp("one_trade")))
    hot.insert("silver_trades", silver_rows(trades.head(1)))
    run(Tiers.open(hot.settings), layers=("silver", "gold"))
    yield hot.settings
    hot.give_back()


def pinned(settings: Settings, cold: ColdTable, name: str) -> pl.DataFrame:
    frame = pl.from_arrow(load(settings, cold).scan().use_ref(name).to_arrow())
    assert isinstance(frame, pl.DataFrame)
    return frame.sort(frame.columns)


@pytest.mark.nightly
def test_a_pin_reads_the_same_after_corrections_and_expiry(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    hot.load(trades.head(300))
    hot.load_left_out(trades.head(300))
    hot.load_series()
    run(Tiers.open(settings))
    before = {cold.name: read(settings, cold) for cold in TABLES}
    pin = Pins(ColdTier.open(settings)).create("backtest")
    assert {part.table: part.rows for part in pin.tables} == {name: frame.height for name, frame in before.items()}
    hot.load(trades.slice(300))
    for _ in range(2):
        run(Tiers.open(settings), again=True)
    maintain(ColdTier.open(settings), expire_after=timedelta(0), orphan_age=timedelta(0))
    # And one more replacement, which sweeps what dead attempts left in the same folders.
    run(Tiers.open(settings), again=True)
    maintain(ColdTier.open(settings), expire_after=timedelta(0), orphan_age=timedelta(0))
    for cold in TABLES:
        assert_frame_equal(pinned(settings, cold, "backtest"), before[cold.name].sort(before[cold.name].columns))
        assert read(settings, cold).height >= before[cold.name].height
    assert verify(Tiers.open(settings)).ok
    assert files_on_disk(settings) == files_referenced(settings)
    assert Pins(ColdTier.open(settings)).get("backtest") == pin
    database = Pins(ColdTier.open(settings)).publish("backtest", ClickHouseHttp(settings))
    for cold in TABLES:
        assert hot.count(f"{database}.{cold.name}") == before[cold.name].height
    hot.client.command(f"DROP DATABASE {database}")


# Its sibling: test_compaction.py::test_small_files_become_one_and_no_row_changes drops a pin and counts the files.
@pytest.mark.nightly
def test_a_dropped_pin_expires(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    hot.load(trades.head(1))
    hot.load_left_out(trades.head(1))
    hot.load_series()
    run(Tiers.open(settings))
    Pins(ColdTier.open(settings)).create("short")
    run(Tiers.open(settings), again=True)
    maintain(ColdTier.open(settings), expire_after=timedelta(0), orphan_age=timedelta(0))
    assert {len(load(settings, cold).metadata.snapshots) for cold in TABLES} == {2}
    Pins(ColdTier.open(settings)).drop("short")
    assert Pins(ColdTier.open(settings)).all() == []
    maintain(ColdTier.open(settings), expire_after=timedelta(0), orphan_age=timedelta(0))
    assert {len(load(settings, cold).metadata.snapshots) for cold in TABLES} == {1}
    assert files_on_disk(settings) == files_referenced(settings)
    assert verify(Tiers.open(settings)).ok


def test_a_moment_can_be_pinned(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    layers: tuple[Layer, ...] = ("silver", "gold")
    hot.insert("silver_trades", silver_rows(trades.head(300)))
    run(Tiers.open(settings), layers=layers)
    moment = datetime.now(UTC)
    hot.insert("silver_trades", silver_rows(trades.slice(300)))
    run(Tiers.open(settings), layers=layers)
    Pins(ColdTier.open(settings)).create("earlier", moment)
    assert pinned(settings, BY_NAME["silver_trades"], "earlier").height == 300
    assert pinned(settings, BY_NAME["gold_ohlcv_1h"], "earlier")["trade_count"].sum() == 300
    with pytest.raises(PinError, match="nothing to pin"):
        Pins(ColdTier.open(settings)).create("before_all", datetime(2020, 1, 1, tzinfo=UTC))


def test_silver_without_its_candles_is_not_pinned(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    hot.insert("silver_trades", silver_rows(trades.head(300)))
    run(Tiers.open(settings), layers=("silver",))
    with pytest.raises(PinError, match="an offload is under way, or was interrupted"):
        Pins(ColdTier.open(settings)).create("uneven")


def test_names_are_checked_and_unique(one_trade: Settings) -> None:
    pins = Pins(ColdTier.open(one_trade))
    pins.create("once")
    with pytest.raises(PinError, match="exists"):
        pins.create("once")
    for name in ("", "Main Branch", "einsü", "a" * 64, "once\n", "1st", "a-b", "a`b", "a.b"):
        with pytest.raises(PinError, match="no pin name"):
            pins.create(name)
    with pytest.raises(PinError, match="no pin other"):
        pins.drop("other")
    pins.drop("once")


def test_a_creation_that_broke_off_is_finished_or_dropped(one_trade: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = one_trade
    tag, tagged = Pins._tag, []

    def fail_at_the_third(self: Pins, table_name: str, name: str, snapshot_id: int) -> None:
        tagged.append(table_name)
        if len(tagged) == 3:
            raise ConnectionError("the catalog is away")
        tag(self, table_name, name, snapshot_id)

    for end in ("create", "drop"):
        tagged.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Pins, "_tag", fail_at_the_third)
            with pytest.raises(ConnectionError):
                Pins(ColdTier.open(settings)).create(end)
        getattr(Pins(ColdTier.open(settings)), end)(end)
    assert [pin.name for pin in Pins(ColdTier.open(settings)).all()] == ["create"]
    assert {name for cold in TABLES for name in load(settings, cold).metadata.refs} == {"main", "create"}
    Pins(ColdTier.open(settings)).drop("create")


def test_branches_and_tags_of_other_tools_stay_as_they_are(one_trade: Settings) -> None:
    settings = one_trade
    table = load(settings, BY_NAME["silver_trades"])
    current = table.metadata.current_snapshot_id
    assert current is not None
    table.manage_snapshots().create_branch(current, "audit").create_tag(current, "release").commit()
    refs = table.refresh().metadata.refs
    pins = Pins(ColdTier.open(settings))
    for name, kind in (("main", "the branch"), ("audit", "a branch"), ("release", "a tag")):
        with pytest.raises(PinError, match=kind):
            pins.create(name)
        with pytest.raises(PinError, match="no pin"):
            pins.drop(name)
    with pytest.raises(PinError, match="database of the hot tables"):
        Pins(ColdTier.open(settings.model_copy(update={"clickhouse_database": "pin_week"}))).create("week")
    assert load(settings, BY_NAME["silver_trades"]).metadata.refs == refs
    # A branch that another tool makes of a pin's name afterwards is left alone, too.
    pins.create("later")
    table.refresh().manage_snapshots().remove_tag("later").create_branch(current, "later").commit()
    pins.drop("later")
    assert load(settings, BY_NAME["silver_trades"]).metadata.refs.keys() == {*refs, "later"}
    assert pins.all() == []


@pytest.mark.nightly
def test_a_branch_that_version_0_1_took_for_a_pin_is_put_right(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    """What `pin create main` and then `pin drop main` left; nothing of it is lost."""
    hot.load(trades.head(300))
    run(Tiers.open(settings))
    catalog = open_catalog(settings)
    before = {cold.name: read(settings, cold) for cold in TABLES}
    for remove in (False, True):
        for cold in TABLES:
            table = load(settings, cold)
            current = table.metadata.current_snapshot_id
            if current is not None:
                table.manage_snapshots().create_tag(current, "main").commit()
                if remove:
                    table.manage_snapshots().remove_tag("main").commit()
        with pytest.raises(WarehouseError, match="medallion pin repair"):
            run(Tiers.open(settings))
        planned = repair_branches(catalog, settings, dry_run=True)
        assert repair_branches(catalog, settings, dry_run=False) == planned
        assert {one.table: one.rows for one in planned} == {
            name: frame.height for name, frame in before.items() if frame.height
        }
        assert repair_branches(catalog, settings, dry_run=False) == []
        run(Tiers.open(settings), again=True)
        assert verify(Tiers.open(settings)).ok
        for cold in TABLES:
            assert_frame_equal(read(settings, cold), before[cold.name], check_row_order=False)
