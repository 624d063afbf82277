"""An offload that is killed, raced or lied to leaves a readable, correct table and no file that nobody owns."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from config.settings import Settings
from offload.clickhouse.client import ClickHouseHttp, Parameters
from offload.clickhouse.tiers import Tiers
from offload.errors import BrokenExportError, CommitConflictError, HotStoreError
from offload.files.commit import Replacement, replace_slices
from offload.files.export import export_slice
from offload.proof.verify import verify
from offload.run import run
from offload.tables.catalog import ensure_tables, open_catalog
from offload.tables.cold_tables import BY_NAME, TABLES, Layer
from offload.tables.slice_records import SliceRecord
from offload.tables.slices import HOUR_US, hour, micros
from tests.clickhouse import as_json
from tests.offload.cold_tables import files_on_disk, files_referenced, load, read
from tests.offload.hot_tables import ARRIVAL, HotTables, of_one_hour, read_tape, silver_rows
from tests.offload.hourly.faults import CATALOG_ERRORS, Countdown, FailingClickHouse, failing_commit

ROOT = Path(__file__).resolve().parents[3]
POINTS = (
    "after-catalog:silver_trades",
    *(
        pytest.param(point, marks=pytest.mark.nightly)
        for point in (
            # test_series.py::test_a_run_that_dies_at_its_commit_is_completed_by_the_next dies before the commit.
            "before-catalog:silver_trades",
            # What it leaves is a file that no commit names, as before the catalog's commit.
            "streaming:silver_trades",
            # Gold is committed as Silver is.
            "before-catalog:gold_ohlcv_1m",
            "exporting:silver_trades",
            "streaming:gold_ohlcv_1m",
            "exported:raw_trades",
            "exported:gold_ohlcv_1h",
            "before-catalog:bronze_trades",
            "after-catalog:gold_ohlcv_5m",
            "committed:raw_trades",
        )
    ),
)


@pytest.fixture
def trades(tape: Path) -> pl.DataFrame:
    return read_tape(tape).head(300)


def _start(settings: Settings, point: str, marker: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.offload.hourly.worker", as_json(settings), point, str(marker)]
    return subprocess.Popen(command, cwd=ROOT)


@retry(retry=retry_if_result(lambda reached: not reached), stop=stop_after_delay(120), wait=wait_fixed(0.02))
def _reached(marker: Path, worker: subprocess.Popen[bytes]) -> bool:
    assert worker.poll() is None, "the worker ended before its point"
    return marker.exists()


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_offload_leaves_old_or_new_and_the_next_run_completes_it(
    settings: Settings, hot: HotTables, trades: pl.DataFrame, tmp_path: Path, point: str
) -> None:
    # A first half is offloaded already, so that the killed run replaces windows and candles.
    layer = BY_NAME[point.partition(":")[2]].layer
    fill = hot.load if layer in {"raw", "bronze"} else lambda rows: hot.insert("silver_trades", silver_rows(rows))
    fill(trades.head(150))
    run(Tiers.open(settings), layers=(layer,))
    fill(trades.slice(150))
    marker = tmp_path / "reached"
    with _start(settings, point, marker) as worker:
        _reached(marker, worker)
        worker.kill()
    for cold in (cold for cold in TABLES if cold.layer == layer):
        if layer == "gold":
            assert read(settings, cold)["trade_count"].sum() in {150, 300}
        else:
            windows = read(settings, cold).group_by(pl.col(cold.arrival).dt.truncate("1h")).len()
            assert set(windows["len"]) <= {50, 100}, "a window that is neither the old nor the new one"
    run(Tiers.open(settings), layers=(layer,))
    checked = verify(Tiers.open(settings), layers=(layer,))
    assert checked.ok
    assert layer == "gold" or [table.cold_rows for table in checked.tables] == [300]
    assert files_on_disk(settings) == files_referenced(settings)


# Its siblings: test_two_attempts_at_one_slice_conflict_and_at_two_slices_do_not.
@pytest.mark.nightly
def test_several_offloads_at_once_write_every_row_once(
    settings: Settings, hot: HotTables, trades: pl.DataFrame, tmp_path: Path
) -> None:
    hot.load(trades)
    workers = [_start(settings, "none", tmp_path / "never") for _ in range(3)]
    assert [worker.wait(240) for worker in workers] == [0, 0, 0]
    for name in ("raw_trades", "bronze_trades", "silver_trades"):
        assert read(settings, BY_NAME[name]).height == 300
    for cold in TABLES:
        if cold.layer == "gold":
            assert read(settings, cold)["trade_count"].sum() == 300
    assert verify(Tiers.open(settings)).ok
    assert files_on_disk(settings) == files_referenced(settings)


def test_two_attempts_at_one_slice_conflict_and_at_two_slices_do_not(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    hot.load(trades)
    cold, store = BY_NAME["silver_trades"], ClickHouseHttp(settings)
    ensure_tables(open_catalog(settings), settings.iceberg_namespace)

    def attempt(name: str, hours: int) -> Callable[[], object]:
        table, part = load(settings, cold), hour(micros(ARRIVAL) + hours * HOUR_US)
        export = export_slice(store, table, cold, part, part.to_us, name)
        record = SliceRecord(attempt=name, rows=export.rows, measure=export.rows, until_us=part.to_us, final=True)
        return lambda: replace_slices(table, cold, name, [Replacement(export, record)], {})

    first, second, other = attempt("first", 0), attempt("second", 0), attempt("other", 1)
    first()
    other()
    with pytest.raises(CommitConflictError):
        second()
    assert read(settings, cold).height == 200


class Truncated(ClickHouseHttp):
    """A server that dies in the middle of every file."""

    @contextmanager
    def parquet(self, sql: str, parameters: Parameters) -> Iterator[Iterator[bytes]]:
        with super().parquet(sql, parameters) as chunks:
            data = b"".join(chunks)
        yield iter([data[: len(data) // 2], b"Code: 241. DB::Exception: Memory limit exceeded"])


def test_a_stream_that_breaks_off_is_refused_and_removed(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    layers: tuple[Layer, ...] = ("silver", "gold")
    hot.load(of_one_hour(trades))
    with pytest.raises(BrokenExportError, match="Memory limit exceeded"):
        run(Tiers.open(settings, Truncated(settings)), layers=layers)
    assert files_on_disk(settings) == set()
    assert all(load(settings, cold).current_snapshot() is None for cold in TABLES)
    run(Tiers.open(settings), layers=layers)
    assert verify(Tiers.open(settings), layers=layers).ok


def test_a_refusal_and_a_catalog_that_is_away_lose_and_double_nothing(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    layers: tuple[Layer, ...] = ("silver",)
    hot.load(of_one_hour(trades))
    refuses = Countdown(2)
    with pytest.raises(HotStoreError, match="injected"):
        run(Tiers.open(settings, FailingClickHouse(settings, refuses)), layers=layers)
    assert files_on_disk(settings) == files_referenced(settings)
    away, lost = Countdown(0), Countdown(0)
    error, after = CATALOG_ERRORS["the catalog is away"]
    with failing_commit(away, error, after=after), pytest.raises(type(error), match="injected"):
        run(Tiers.open(settings), layers=layers)
    assert load(settings, BY_NAME["silver_trades"]).current_snapshot() is None
    error, after = CATALOG_ERRORS["the catalog's answer is lost"]
    with failing_commit(lost, error, after=after):
        run(Tiers.open(settings), layers=layers)  # It finds its own commit.
    assert lost.fired
    run(Tiers.open(settings), layers=layers)
    assert read(settings, BY_NAME["silver_trades"]).height == trades.height
    assert verify(Tiers.open(settings), layers=layers).ok
    assert files_on_disk(settings) == files_referenced(settings)
