"""What `pin diff` names is what polars finds between the rows of two versions, and nothing else."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from cli.cold.pins import app
from config.settings import Settings
from ddl.layers import load_layers
from offload.clickhouse.tiers import Tiers
from offload.difference.spill import BYTES_A_ROW
from offload.errors import DiskSpaceError
from offload.pin_difference import Comparison, OutputFolderError, PinDifference, differing_rows
from offload.pins import PinError, Pins
from offload.run import run
from offload.tables.catalog import ColdTier
from offload.tables.cold_tables import Layer
from tests.offload.command_line import as_environment, run_command
from tests.offload.conftest import new_settings
from tests.offload.hot_tables import HotTables, candles, of_one_hour, read_tape, silver_rows

FRAMES = {frame.view: timedelta(seconds=frame.seconds) for frame in load_layers().timeframes}
IDS = st.dictionaries(st.sampled_from("abcdefgh"), st.none() | st.integers(0, 3))


@given(IDS, IDS)
def test_rows_that_differ_are_those_that_one_side_lacks_or_says_otherwise(
    one: dict[str, int | None], other: dict[str, int | None]
) -> None:
    frames = [
        pl.DataFrame(
            {"trade_id": list(side), "price": list(side.values())}, schema={"trade_id": pl.String, "price": pl.Int64}
        )
        for side in (one, other)
    ]
    found = differing_rows(*frames, Comparison(["trade_id"], ["price"]))
    assert {
        row[0]: row[1:] for row in found.select("trade_id", "change", "price_before", "price_after").iter_rows()
    } == {
        **{key: ("removed", one[key], None) for key in one.keys() - other.keys()},
        **{key: ("added", None, other[key]) for key in other.keys() - one.keys()},
        **{key: ("changed", one[key], other[key]) for key in one.keys() & other.keys() if one[key] != other[key]},
    }


class Versions:
    """The pin `before_it`, and the present version: more trades, one at another price and one trade fewer."""

    def __init__(self, settings: Settings, hot: HotTables, tape: Path) -> None:
        self.settings = settings
        trades = of_one_hour(read_tape(tape)).head(900)
        self.first, self.added = trades.head(600), trades.slice(600)
        layers: tuple[Layer, ...] = ("silver", "gold")
        hot.insert("silver_trades", silver_rows(self.first))
        run(Tiers.open(settings), layers=layers)
        Pins(ColdTier.open(settings)).create("before_it")
        self.gone, self.altered = self.first.row(100, named=True), self.first.row(301, named=True)
        mended = self.first.filter(pl.col("trade_id") != self.gone["trade_id"]).with_columns(
            pl.when(pl.col("trade_id") == self.altered["trade_id"])
            .then(pl.lit("7.50000000"))
            .otherwise("price")
            .alias("price")
        )
        self.second = pl.concat([mended, self.added])
        for table in ("silver_trades", "gold_ohlcv_state"):
            hot.client.command(f"TRUNCATE TABLE {table}")
        hot.insert("silver_trades", silver_rows(self.second))
        run(Tiers.open(settings), again=True, layers=layers)
        self.compare = PinDifference(ColdTier.open(settings)).compare


@pytest.fixture(scope="module")
def versions(http_port: int, tape: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Versions]:
    settings = new_settings(http_port, tmp_path_factory.mktemp("versions"))
    hot = HotTables(settings)
    yield Versions(settings, hot, tape)
    hot.give_back()


def test_trades_that_were_added_changed_and_removed_are_named(
    versions: Versions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found, _ = versions.compare("before_it", "now", Path("new:/folder"))
    (counted,) = (one for one in found.tables if one.table == "silver_trades")
    assert (counted.removed, counted.added, counted.changed) == (1, versions.added.height, 1)
    silver = pl.read_parquet(tmp_path / "new:" / "folder" / "silver_trades.parquet")
    assert silver.filter(change="removed")["trade_id"].to_list() == [versions.gone["trade_id"]]
    (row,) = silver.filter(change="changed").to_dicts()
    assert row["trade_id"] == versions.altered["trade_id"]
    assert (row["price_before"], row["price_after"]) == (Decimal(versions.altered["price"]), Decimal("7.5"))
    assert set(silver.filter(change="added")["trade_id"]) == set(versions.added["trade_id"])


def test_candles_that_follow_from_them_are_named(versions: Versions, tmp_path: Path) -> None:
    found, shown = versions.compare("before_it", "now", tmp_path, show=5)
    counts = {one.table: (one.removed, one.added, one.changed) for one in found.tables}
    key = ["exchange", "symbol", "window_start"]
    for name, length in FRAMES.items():
        before, after = candles(versions.first, length), candles(versions.second, length)
        both = before.join(after, on=key, suffix="_after")
        differ = pl.any_horizontal(pl.col(number) != pl.col(f"{number}_after") for number in before.columns[3:])
        assert counts[name] == (
            before.join(after, on=key, how="anti").height,
            after.join(before, on=key, how="anti").height,
            both.filter(differ).height,
        ), name
        written = pl.read_parquet(tmp_path / f"{name}.parquet").sort(key)
        assert written.height == sum(counts[name])
        assert_frame_equal(shown[name], written.head(5))


def test_the_other_way_round_it_is_the_opposite_and_against_itself_nothing(versions: Versions) -> None:
    forth, _ = versions.compare("before_it", "now")
    back, _ = versions.compare("now", "before_it")
    assert [(one.added, one.removed, one.changed) for one in back.tables] == [
        (one.removed, one.added, one.changed) for one in forth.tables
    ]
    same, nothing = versions.compare("before_it", "before_it", show=5)
    assert same.is_equal
    assert {one.compared for one in same.tables} == {0}
    assert all(frame.is_empty() for frame in nothing.values())


def test_without_room_nothing_is_written_and_the_same_command_can_be_run_again(
    versions: Versions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr("pyarrow.parquet.ParquetWriter.write_table", full)
        with pytest.raises(OSError, match="No space left"):
            versions.compare("before_it", "now", tmp_path)
    assert [*tmp_path.iterdir()] == []
    versions.compare("before_it", "now", tmp_path)
    assert (tmp_path / "silver_trades.parquet").exists()


def test_what_cannot_be_compared_or_written_is_refused(versions: Versions, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(OutputFolderError, match=r"has mine\.txt in it"):
        versions.compare("before_it", "now", tmp_path)
    with pytest.raises(PinError, match="no pin nothing"):
        versions.compare("nothing", "now")
    with pytest.raises(PinError, match="stands for the present version"):
        Pins(ColdTier.open(versions.settings)).create("now")


def test_a_disk_without_room_is_said_before_anything_is_written(
    versions: Versions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of both versions of the largest table count, each at its upper bound."""
    out, needed = tmp_path / "out", (600 + versions.second.height) * BYTES_A_ROW
    with monkeypatch.context() as small:
        small.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed - 1))
        with pytest.raises(DiskSpaceError, match=r"Nothing was changed\. Set TMPDIR to a folder on a larger disk\.$"):
            versions.compare("before_it", "now", out)
        assert not out.exists()
        small.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed))
        versions.compare("before_it", "now")


def test_the_command_shows_each_value_before_and_after(versions: Versions, monkeypatch: pytest.MonkeyPatch) -> None:
    as_environment(versions.settings, monkeypatch)
    code, printed, _ = run_command(app, "diff", "before_it", "--limit", "400")
    assert code == 0
    old = f"{Decimal(versions.altered['price']):,f}0000000000"
    for words in (f"price {old} → 7.500000000000000000", versions.gone["trade_id"], "silver_trades: 302"):
        assert words in " ".join(printed.split())
    code, printed, _ = run_command(app, "diff", "before_it", "now", "--json", "--limit", "1")
    document = json.loads(printed)
    assert (code, document["equal"]) == (0, False)
    assert [len(rows) for rows in document["rows"].values()] == [1] * (1 + len(FRAMES))


@pytest.mark.nightly
def test_rewritten_files_with_the_same_rows_are_equal(settings: Settings, hot: HotTables, tape: Path) -> None:
    """The fast tier's sibling compares versions of which some rows are the same, in other files."""
    hot.load(read_tape(tape).head(300))
    run(Tiers.open(settings))
    Pins(ColdTier.open(settings)).create("once")
    run(Tiers.open(settings), again=True)
    found, _ = PinDifference(ColdTier.open(settings)).compare("once", "now")
    assert found.is_equal
    assert {one.table: one.compared for one in found.tables}["silver_trades"] == 600
