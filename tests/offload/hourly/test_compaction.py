"""Compaction changes files and never rows: not for readers, pins, lineage, later runs of an hour, nor when killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlparse

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from config.settings import Settings
from offload.clickhouse.client import ClickHouseHttp, Parameters
from offload.clickhouse.tiers import Tiers
from offload.errors import BrokenExportError
from offload.files.data_files import LEASE_SECONDS, process_attempt
from offload.files.replace import compacted_folder, remove_abandoned_merges, separate_hours
from offload.maintain.compaction import compact
from offload.maintain.expiry import maintain
from offload.pins import Pins
from offload.proof.trace import Tracer
from offload.proof.verify import verify
from offload.rederive.run import rederive
from offload.retention.gate import close_gate
from offload.run import run
from offload.tables.catalog import ColdTier
from offload.tables.cold_tables import BY_NAME, TABLES, Layer
from offload.tables.slices import HOUR_US, hour, micros
from tests.clickhouse import ENVIRONMENT, as_json
from tests.offload.cold_tables import files_on_disk, files_referenced, live_files, load, read
from tests.offload.hot_tables import ARRIVAL, HotTables, duplicate_rows, raw_rows, read_tape, silver_rows
from tests.offload.retention.test_gate import LATER

ROOT = Path(__file__).resolve().parents[3]
SLICED = [cold for cold in TABLES if cold.arrival]


@pytest.fixture
def trades(tape: Path) -> pl.DataFrame:
    return read_tape(tape).head(300)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"compact_min_files": 2})


def frames(settings: Settings) -> dict[str, pl.DataFrame]:
    found = {cold.name: read(settings, cold) for cold in TABLES}
    return {name: frame.sort(frame.columns) for name, frame in found.items()}


def assert_same(found: dict[str, pl.DataFrame], wanted: dict[str, pl.DataFrame]) -> None:
    for name, frame in wanted.items():
        assert_frame_equal(found[name], frame)


def load_all(hot: HotTables, trades: pl.DataFrame) -> None:
    hot.load(trades)
    hot.load_left_out(trades)


# Of the fast tier: test_lineage_names_the_merged_file_from_which_hours_can_be_taken_out.
@pytest.mark.nightly
def test_small_files_become_one_and_no_row_changes(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    trades = trades.filter(pl.col("arrived") < ARRIVAL + timedelta(hours=2))
    load_all(hot, trades)
    hot.load_series("bars", hours=2)
    run(Tiers.open(settings))
    before = frames(settings)
    small = {cold.name: len(live_files(settings, cold)) for cold in TABLES}
    Pins(ColdTier.open(settings)).create("before")
    planned = compact(Tiers.open(settings), dry_run=True)
    assert {cold.name: len(live_files(settings, cold)) for cold in TABLES} == small, "a dry run changes nothing"
    done = compact(Tiers.open(settings))
    assert done == planned
    assert {part.table: (part.files, part.into) for part in done} == {
        cold.name: (small[cold.name], small[cold.name] // 2) for cold in SLICED
    }
    assert_same(frames(settings), before)
    for cold in SLICED:
        assert len(live_files(settings, cold)) == small[cold.name] // 2
        for path in live_files(settings, cold):
            rows = pl.read_parquet(path, columns=list(cold.sort))
            assert_frame_equal(rows, rows.sort(cold.sort))
    assert verify(Tiers.open(settings)).ok
    assert [part.files for part in compact(Tiers.open(settings))] == [0] * len(SLICED), "there is nothing left to merge"
    # What a pin names stays, whatever expires.
    maintain(ColdTier.open(settings), expire_after=timedelta(0), orphan_age=timedelta(0))
    for cold in (cold for cold in TABLES if before[cold.name].height):
        pinned = pl.from_arrow(load(settings, cold).scan().use_ref("before").to_arrow())
        assert isinstance(pinned, pl.DataFrame)
        assert_frame_equal(pinned.sort(pinned.columns), before[cold.name])
    Pins(ColdTier.open(settings)).drop("before")
    maintain(ColdTier.open(settings), expire_after=timedelta(0), orphan_age=timedelta(0))
    assert files_on_disk(settings) == files_referenced(settings)
    assert sum(len(live_files(settings, cold)) for cold in TABLES) == len(files_on_disk(settings))
    assert_same(frames(settings), before)


def test_lineage_names_the_merged_file_from_which_hours_can_be_taken_out(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    """A re-derivation takes hours out before it replaces their files."""
    hot.load(trades)
    run(Tiers.open(settings), layers=("raw", "bronze", "silver"))
    before = frames(settings)
    compact(Tiers.open(settings))
    trade = trades.row(5, named=True)
    trace = Tracer(Tiers.open(settings)).trade("binance", trade["symbol"], trade["trade_id"])
    assert trace.changes == ()
    cold = {sighting.layer: sighting for sighting in trace.sightings if sighting.tier == "cold"}
    for name in ("raw_trades", "bronze_trades", "silver_trades"):
        assert "/data/compacted/" in cold[name].file
        assert cold[name].snapshot_id in {
            snapshot.snapshot_id for snapshot in load(settings, BY_NAME[name]).snapshots()
        }
    silver = BY_NAME["silver_trades"]
    middle = hour(micros(ARRIVAL) + HOUR_US)
    separate_hours(ClickHouseHttp(settings), ColdTier.open(settings), silver, [middle])
    folders = sorted({path.parent.name for path in live_files(settings, silver)})
    assert folders == [middle.id, "compacted"]
    assert_same(frames(settings), before)
    for path in live_files(settings, silver):
        hours = set(pl.read_parquet(path)["validated_at"].dt.truncate("1h"))
        assert (ARRIVAL + timedelta(hours=1) in hours) == (path.parent.name == middle.id)


@pytest.mark.nightly
def test_an_hour_can_be_offloaded_again_after_it_was_merged(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    """Late rows of the middle one of three merged hours, then every hour once more."""
    late = trades.filter(pl.col("offset") % 3 == 1).tail(20)
    on_time = trades.join(late, on="offset", how="anti")
    load_all(hot, on_time)
    run(Tiers.open(settings))
    compact(Tiers.open(settings))
    load_all(hot, late)
    report = run(Tiers.open(settings))
    middle = f"{ARRIVAL + timedelta(hours=1):%Y-%m-%dT%H}"
    written = {
        part.slice for part in report.slices if part.outcome == "written" and part.table in {c.name for c in SLICED}
    }
    assert written == {middle}
    assert verify(Tiers.open(settings)).ok
    for cold in (cold for cold in SLICED if cold.layer != "series"):
        assert read(settings, cold).height == trades.height
    compact(Tiers.open(settings))
    run(Tiers.open(settings), again=True)
    assert verify(Tiers.open(settings)).ok
    compact(Tiers.open(settings))
    assert verify(Tiers.open(settings)).ok
    assert sorted(read(settings, BY_NAME["silver_trades"])["raw_offset"].to_list()) == trades["offset"].to_list()
    report_gate = close_gate(Tiers.open(settings), drop=True, now=LATER)
    assert not report_gate.held
    maintain(ColdTier.open(settings), expire_after=timedelta(0), orphan_age=timedelta(0))
    assert files_on_disk(settings) == files_referenced(settings)


class Meddling(ClickHouseHttp):
    """Offloads every hour once more while the first merged file is being written."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._settings, self._done = settings, False

    @contextmanager
    def parquet(self, sql: str, parameters: Parameters) -> Iterator[Iterator[bytes]]:
        with super().parquet(sql, parameters) as chunks:
            data = b"".join(chunks)
        if not self._done:
            self._done = True
            run(Tiers.open(self._settings), again=True, layers=("raw",))
        yield iter([data])


def test_a_merge_gives_way_to_an_offload_and_tries_again(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    hot.insert("trades_raw", raw_rows(trades))
    run(Tiers.open(settings), layers=("raw",))
    done = {part.table: part for part in compact(Tiers.open(settings, Meddling(settings)))}
    assert (done["raw_trades"].files, done["raw_trades"].into, done["raw_trades"].conflicts) == (3, 1, 0)
    assert read(settings, BY_NAME["raw_trades"]).height == 300
    assert verify(Tiers.open(settings), layers=("raw",)).ok
    assert files_on_disk(settings) == files_referenced(settings), "what gave way left no file"


class Lossy(ClickHouseHttp):
    """A server that leaves a row out of what it writes."""

    @contextmanager
    def parquet(self, sql: str, parameters: Parameters) -> Iterator[Iterator[bytes]]:
        with super().parquet(f"SELECT * FROM ({sql}) LIMIT 299", parameters) as chunks:
            yield chunks


def test_a_merge_that_lost_a_row_is_not_committed(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    hot.insert("trades_raw", raw_rows(trades))
    run(Tiers.open(settings), layers=("raw",))
    with pytest.raises(BrokenExportError, match="nothing was committed"):
        compact(Tiers.open(settings, Lossy(settings)))
    assert read(settings, BY_NAME["raw_trades"]).height == 300
    assert files_on_disk(settings) == files_referenced(settings)


KILLED = """
import os, signal, sys
from pyiceberg.table import Table
from config.settings import Settings
from offload.clickhouse.tiers import Tiers
from offload.maintain.compaction import compact
original = Table._do_commit
def patched(self, *args, **kwargs):
    if sys.argv[2] == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    original(self, *args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
Table._do_commit = patched
compact(Tiers.open(Settings.model_validate_json(sys.argv[1])))
"""


@pytest.mark.parametrize(
    ("when", "after"),
    [
        ("before", compact),
        # Nothing is left to do: so it is after the commit of an offload, in test_faults.py.
        pytest.param("after", compact, marks=pytest.mark.nightly),
        pytest.param("before", run, marks=pytest.mark.nightly),
    ],
)
def test_a_merge_that_was_killed_is_done_or_not_done(
    settings: Settings, hot: HotTables, trades: pl.DataFrame, when: str, after: Callable[[Tiers], object]
) -> None:
    """What it wrote and did not commit goes with the next merge or offload, without waiting for the daily sweep."""
    hot.insert("trades_raw", raw_rows(trades))
    run(Tiers.open(settings), layers=("raw",))
    before = read(settings, BY_NAME["raw_trades"]).sort("raw_offset")
    command = [sys.executable, "-c", KILLED, as_json(settings), when]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert len(live_files(settings, BY_NAME["raw_trades"])) == (3 if when == "before" else 1)
    assert_frame_equal(read(settings, BY_NAME["raw_trades"]).sort("raw_offset"), before)
    assert (files_on_disk(settings) == files_referenced(settings)) == (when == "after")
    after(Tiers.open(settings))
    assert_frame_equal(read(settings, BY_NAME["raw_trades"]).sort("raw_offset"), before)
    assert files_on_disk(settings) == files_referenced(settings)


def test_only_files_of_the_dead_are_swept(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    """A living process, here or elsewhere, may still commit what it wrote; not after its lease."""
    hot.insert("trades_raw", raw_rows(trades))
    run(Tiers.open(settings), layers=("raw",))
    table = load(settings, BY_NAME["raw_trades"])
    mine = process_attempt()
    unique, place, process, started = mine.split(".")
    names = {
        "living": mine,
        "dead": f"{unique}.{place}.{2**22 + 1}.{started}",
        "number used again": f"{unique}.{place}.{process}.{int(started) - 60}",
        "elsewhere": f"{unique}.0123456789ab.{2**22 + 1}.{started}",
        "elsewhere, too old": f"{unique}.ba9876543210.1.{started}",
        "of an hour": "0123456789abcdef",
    }
    folder = Path(urlparse(compacted_folder(table)).path)
    folder.mkdir()
    paths = {name: folder / f"{attempt}-00000.parquet" for name, attempt in names.items()}
    for path in paths.values():
        path.touch()
    old = time.time() - LEASE_SECONDS - 60
    os.utime(paths["elsewhere, too old"], (old, old))
    remove_abandoned_merges(table)
    assert {name for name, path in paths.items() if path.exists()} == {"living", "elsewhere", "of an hour"}


# Its siblings: test_small_files_become_one_and_no_row_changes.
@pytest.mark.nightly
def test_an_export_is_cut_into_files_of_the_target_size(settings: Settings, hot: HotTables, tape: Path) -> None:
    trades = read_tape(tape).head(3000)
    layers: tuple[Layer, ...] = ("raw", "silver", "duplicates")
    hot.load(trades)
    run(Tiers.open(settings), layers=layers)
    size = live_files(settings, BY_NAME["raw_trades"])[0].stat().st_size
    # The table's own bytes a row decide, hence the run before.
    small = settings.model_copy(update={"offload_file_bytes": size // 4})
    again = trades.with_columns(pl.col("arrived") + timedelta(days=1), pl.col("offset") + 100_000)
    hot.load(again)
    hot.insert("duplicate_trades", duplicate_rows(again))
    hot.insert("duplicate_trades", duplicate_rows(again))
    report = run(Tiers.open(small), layers=layers)
    files = {name: max(p.files for p in report.slices if p.table == name) for name in ("raw_trades", "silver_trades")}
    assert files["raw_trades"] >= 4
    assert files["silver_trades"] >= 2
    raw = sorted(path.stat().st_size for path in live_files(settings, BY_NAME["raw_trades"]))
    assert raw[-4] < size / 2, "all but the three of the first run"
    assert max(p.files for p in report.slices if p.table == "duplicate_trades") >= 2
    assert read(settings, BY_NAME["duplicate_trades"]).height == trades.height
    assert verify(Tiers.open(settings), layers=layers).ok
    # Equal Bronze rows meet in one file, however it is cut.
    assert read(settings, BY_NAME["silver_trades"]).height == 2 * silver_rows(trades).height


@pytest.mark.nightly
def test_a_rederivation_goes_by_merged_files_too(
    settings: Settings, hot: HotTables, trades: pl.DataFrame, tmp_path: Path, brokers: str
) -> None:
    """A limit in the registry falls after the files were merged: rows leave, none comes twice."""
    settings = settings.model_copy(update={"kafka_bootstrap_servers": brokers})
    hot.load(trades)
    run(Tiers.open(settings))
    compact(Tiers.open(settings))
    rules = tmp_path / "symbols.yaml"
    rules.write_text(
        "version: 1\ndefaults: {price_max: 1000000, quantity_max: 100000}\nexchanges:\n  binance:\n"
        "    BTCUSDT: {canonical: BTCUSDT, base: BTC, quote: USDT, quantity_max: 0.05}\n"
        "    ETHUSDT: {canonical: ETHUSDT, base: ETH, quote: USDT, quantity_max: 0.05}\n"
    )
    small = trades.filter(pl.col("qty").str.to_decimal(scale=18) <= pl.lit(Decimal("0.05")))
    assert 0 < small.height < trades.height
    first, last = (trades["time"].dt.truncate("1d").unique().sort()[at] for at in (0, -1))
    rederive(Tiers.open(settings.model_copy(update={"symbols_file": rules})), first, last + timedelta(days=1))
    for _ in range(2):
        found = read(settings, BY_NAME["silver_trades"])
        assert sorted(found["raw_offset"].to_list()) == sorted(small["offset"].to_list())
        assert read(settings, BY_NAME["gold_ohlcv_1h"])["trade_count"].sum() == small.height
        compact(Tiers.open(settings))
    assert verify(Tiers.open(settings), layers=("silver", "gold")).ok


# The same over the command line; its dry run and its merge are above.
@pytest.mark.nightly
def test_the_command_says_what_it_would_do_and_does_it(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    hot.insert("trades_raw", raw_rows(trades))
    run(Tiers.open(settings), layers=("raw",))
    names = {
        "clickhouse_host",
        "clickhouse_http_port",
        "clickhouse_database",
        "iceberg_catalog_uri",
        "iceberg_warehouse",
        "compact_min_files",
    }
    given = {f"MEDALLION_{name}".upper(): str(value) for name, value in settings.model_dump(include=names).items()}
    for option in (["--dry-run"], []):
        command = [sys.executable, "-m", "cli", "offload", "maintain", "--json", *option]
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **given, **ENVIRONMENT}, capture_output=True, check=True
        )
        said = json.loads(done.stdout)
        merged = {table["table"]: table for table in said["compaction"]}
        assert (said["dry_run"], merged["raw_trades"]["files"], merged["raw_trades"]["into"]) == (bool(option), 3, 1)
        assert {table["table"] for table in said["maintenance"]} == {cold.name for cold in TABLES}
        assert said["upkeep"] == said["maintenance"]
        assert len(live_files(settings, BY_NAME["raw_trades"])) == (3 if option else 1)
