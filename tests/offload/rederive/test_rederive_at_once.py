"""Processes that re-derive different days at once, as the pods of a Job do: nobody's work is lost or done twice."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from config.settings import Settings
from offload.clickhouse.tiers import Tiers
from offload.publish.publication_log import PublicationBusyError, PublicationLog
from offload.publish.publisher import DayPublisher
from offload.rederive import rewrite
from offload.rederive.run import rederive
from offload.run import run
from offload.tables.slices import Slice, micros
from tests.clickhouse import as_json
from tests.offload.cold_tables import files_on_disk, files_referenced
from tests.offload.hot_tables import HotTables, of_one_hour, read_tape
from tests.offload.rederive.rederiving import FROM, HIGH, LOW, TO, assert_is, fill, limited, within

DAY_AFTER = FROM + timedelta(days=1)


@pytest.fixture
def new(settings: Settings, brokers: str, tmp_path: Path) -> Settings:
    """The settings with the higher limit in force."""
    return limited(settings.model_copy(update={"kafka_bootstrap_servers": brokers}), tmp_path, HIGH)


@pytest.fixture
def trades(hot: HotTables, settings: Settings, tape: Path) -> pl.DataFrame:
    """Trades of two days in both tiers by the lower limit."""
    # Of the second day there are few.
    rows = of_one_hour(read_tape(tape)).filter((pl.col("offset") % 64 == 0) | (pl.col("time").dt.day() == 9))
    for day in (8, 9):
        of_day = rows.filter(pl.col("time").dt.day() == day)
        assert within(of_day, LOW).height < within(of_day, HIGH).height
    fill(hot, rows, LOW)
    run(Tiers.open(settings))
    return rows


def worker(settings: Settings, *arguments: str) -> subprocess.Popen[bytes]:
    """A process that re-derives: first day, end, the statement to stop at, its number, the marker."""
    command = [sys.executable, "-m", "tests.offload.rederive.rederive_worker", as_json(settings), *arguments]
    return subprocess.Popen(command)


def until(check: Callable[[], object]) -> None:
    """Wait until it is true."""
    Retrying(retry=retry_if_result(lambda found: not found), stop=stop_after_delay(60), wait=wait_fixed(0.05))(check)


# Of the fast tier: test_who_publishes_next_waits_for_its_turn.
@pytest.mark.nightly
def test_one_waits_for_its_turn_and_finishes_what_another_left(
    new: Settings, hot: HotTables, trades: pl.DataFrame, tmp_path: Path
) -> None:
    """The first stops in the middle of its publication. The second compares, waits, and takes over when it is dead."""
    marker = tmp_path / "marker"
    stopped = ("ALTER TABLE gold_ohlcv_state DELETE", "1", str(marker))
    failed: list[Exception] = []

    def second() -> None:
        try:
            rederive(Tiers.open(new), DAY_AFTER, TO, exchange="binance")
        except Exception as error:  # noqa: BLE001  # the main thread asserts that there is none
            failed.append(error)

    thread = threading.Thread(target=second)
    with worker(new, FROM.isoformat(), DAY_AFTER.isoformat(), *stopped) as process:
        try:
            until(marker.exists)
            thread.start()
            # It gives way to the first one, again and again.
            gave_way = "(SELECT publication FROM rederivations WHERE day = '2024-08-09' AND step = 'ended')"
            until(lambda: hot.count(gave_way) > 1)
            assert hot.count("rederivations WHERE day = '2024-08-09' AND step = 'switched'") == 0
        finally:
            process.kill()
    thread.join()
    assert not failed
    assert_is(hot, new, within(trades, HIGH))
    assert not rederive(Tiers.open(new), FROM, TO, exchange="binance")[0].added


@pytest.mark.nightly
def test_two_at_once_end_well(new: Settings, hot: HotTables, trades: pl.DataFrame, tmp_path: Path) -> None:
    never = ("never", "1", str(tmp_path / "marker"))
    days = [(FROM, DAY_AFTER), (DAY_AFTER, TO)]
    processes = [worker(new, first.isoformat(), end.isoformat(), *never) for first, end in days]
    assert [process.wait(120) for process in processes] == [0, 0]
    assert_is(hot, new, within(trades, HIGH))
    assert files_on_disk(new) == files_referenced(new)


@pytest.mark.nightly
@pytest.mark.parametrize("step", ["begin_transaction", "replace_slices"])
def test_a_commit_of_another_day_in_between_is_no_conflict(
    new: Settings, hot: HotTables, trades: pl.DataFrame, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """It comes between the look at Silver, or at candles, and their commit. Both days change the same hours of arrival
    and the same month of candles."""
    commit, came = getattr(rewrite, step), False

    def committing(*arguments: Any, **named: Any) -> Any:
        nonlocal came
        if not came:
            came = True
            rederive(Tiers.open(new), DAY_AFTER, TO, exchange="binance")
        return commit(*arguments, **named)

    monkeypatch.setattr(rewrite, step, committing)
    (day,) = rederive(Tiers.open(new), FROM, DAY_AFTER, exchange="binance")
    assert came
    first = trades.filter(pl.col("time").dt.day() == 8)
    assert day.added == within(first, HIGH).height - within(first, LOW).height
    assert_is(hot, new, within(trades, HIGH))
    assert files_on_disk(new) == files_referenced(new), "no attempt left a file"
    # What Iceberg says of its hours is true of both days. Candles may be compared once more.
    written = {part.table for part in run(Tiers.open(new)).slices if part.outcome == "written"}
    assert "silver_trades" not in written
    if step == "begin_transaction":
        assert not written


def test_who_publishes_next_waits_for_its_turn(new: Settings, hot: HotTables, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each logs itself before it looks for others, so the clocks of two servers need not agree."""
    tiers = Tiers.open(new)
    log, day = PublicationLog(tiers.hot), Slice(micros(FROM), micros(DAY_AFTER))
    publisher = DayPublisher(tiers, log)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("socket.gethostname", lambda: "another")
        first = log.begin("first", ["binance"], day.from_us, "staged", (), "")
    monkeypatch.setattr("offload.publish.publisher.TURN_SECONDS", 0.1)
    with pytest.raises(PublicationBusyError, match="another:"):
        publisher.publish(day, ["binance"], "rules")
    assert [entry.publication for entry in log.open()] == ["first"]
    log.note(first, "ended", "")
    assert publisher.publish(day, ["binance"], "rules")
    assert log.open() == []
    assert hot.count("(SELECT DISTINCT publication FROM rederivations)") > 2


def test_one_that_died_is_finished_once(new: Settings, hot: HotTables, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finishes it has the turn meanwhile. Two at once would make its candles twice."""
    tiers = Tiers.open(new)
    log = PublicationLog(tiers.hot)
    died = log.begin("died", ["binance"], micros(FROM), "silver", (), "")
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("socket.gethostname", lambda: "another")
        finisher = log.begin("finisher", ["binance"], micros(FROM), "staged", (), "", beside=[died.publication])
    monkeypatch.setattr("offload.publish.publisher.TURN_SECONDS", 0.1)
    with pytest.raises(PublicationBusyError, match="another:"):
        DayPublisher(tiers, log).finish_open()
    assert {entry.publication for entry in log.open()} == {"died", "finisher"}
    log.note(finisher, "ended", "")
    DayPublisher(tiers, log).finish_open()
    assert log.open() == []
    assert hot.count("rederivations WHERE step = 'switched'") == 1
