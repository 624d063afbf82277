"""Invariant: by the schedule, every window whose bar has landed gets a verdict that stays, once it can have one."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
import yaml
from typer.testing import CliRunner

from cli.messages.schedule import app
from config.registry import SymbolRegistry
from config.settings import Settings
from ddl.layers import load_layers
from series.quality.check import stored_markets
from series.schedules.check import REACH, check_landed
from series.schedules.declaration import CheckSchedule
from series.schedules.run import ScheduleRuns
from series.schedules.service import ScheduleService
from series.schedules.state import ScheduleState, ScheduleStates
from series.store import SeriesStore, StoreError
from tests.clickhouse import PASSWORD
from tests.offload.hot_tables import HotTables
from tests.series.quality.tape import MINUTE, published, tape
from tests.series.quality.test_quality_check import faulty, store_bars, store_trades
from tests.series.test_schedules import eventually, samples, serving

HOUR = timedelta(hours=1)
# The recording crosses this midnight.
MIDNIGHT = datetime(2024, 8, 9, tzinfo=UTC)
BTC = "binance BTCUSDT 1m"


def hourly(name: str = "hourly") -> CheckSchedule:
    return CheckSchedule.model_validate({"name": name, "check": "candles", "frame": "1m", "interval": "1h"})


@pytest.fixture
def states(tmp_path: Path) -> ScheduleStates:
    return ScheduleStates(tmp_path)


def checked(settings: Settings, states: ScheduleStates, now: datetime) -> ScheduleState:
    """The state after a check at that time."""
    state, _ = asyncio.run(ScheduleRuns(settings, states, lambda: now).run(hourly()))
    assert (state.error, state.succeeded_at) == ("", now)
    return state


def end() -> datetime:
    """When the last bar is over."""
    last = published()["window_start"].max()
    assert isinstance(last, datetime)
    return last + MINUTE


def landed(first: datetime, until: datetime) -> pl.DataFrame:
    return published().filter(pl.col("window_start").is_between(first, until, closed="left"))


def test_each_check_takes_the_windows_whose_bars_have_landed_since_the_last(
    settings: Settings, store: SeriesStore, hot: HotTables, states: ScheduleStates
) -> None:
    start = published()["window_start"].min()
    assert isinstance(start, datetime)
    assert checked(settings, states, MIDNIGHT).verdicts == {"equal": 0}
    store_trades(hot, tape(), "BTCUSDT")
    store_bars(store, "BTCUSDT", landed(start, MIDNIGHT - 2 * MINUTE))
    first = checked(settings, states, MIDNIGHT)
    assert (first.verdicts, first.checked_until) == ({"equal": 4}, {BTC: MIDNIGHT - 2 * MINUTE})
    # Nothing has landed since, so no window is compared again.
    second = checked(settings, states, MIDNIGHT + HOUR)
    assert (second.verdicts, second.checked_until) == ({"equal": 0}, first.checked_until)
    store_bars(store, "BTCUSDT", landed(MIDNIGHT - 2 * MINUTE, end()))
    third = checked(settings, states, MIDNIGHT + 2 * HOUR)
    assert (third.verdicts, third.checked_until) == ({"equal": published().height - 4}, {BTC: end()})
    rows = hot.client.query("SELECT count(), uniqExact(window_start) FROM quality_checks_log").result_rows
    assert rows == [(published().height, published().height)]


def test_the_first_check_begins_yesterday_and_none_beyond_the_hot_tier(
    settings: Settings, store: SeriesStore, hot: HotTables, states: ScheduleStates
) -> None:
    store_trades(hot, tape(), "BTCUSDT")
    store_bars(store, "BTCUSDT")
    before = landed(MIDNIGHT - HOUR, MIDNIGHT).height
    assert checked(settings, states, MIDNIGHT + 25 * HOUR).verdicts == {"equal": published().height - before}
    states.write(ScheduleState("hourly", MIDNIGHT, checked_until={BTC: MIDNIGHT - 9 * REACH}))
    assert checked(settings, states, MIDNIGHT + REACH).verdicts == {"equal": published().height - before}
    hot_days = {one.table: one.days for one in load_layers().retention}["silver_trades"]
    candles_days = min(one.days for one in load_layers().candles)
    assert timedelta(days=min(hot_days, candles_days)) > REACH


def test_a_window_that_is_late_is_checked_again_when_its_trades_are_there(
    settings: Settings, store: SeriesStore, hot: HotTables, states: ScheduleStates
) -> None:
    cut = MIDNIGHT - 3 * MINUTE
    here, still_coming = tape().filter(pl.col("timestamp") < cut), tape().filter(pl.col("timestamp") >= cut)
    store_trades(hot, here, "BTCUSDT")
    store_bars(store, "BTCUSDT")
    early = checked(settings, states, MIDNIGHT + HOUR)
    assert early.checked_until == {BTC: cut}
    # The empty window after midnight agrees already.
    assert early.verdicts == {"equal": 4, "late": 4}
    store_trades(hot, still_coming, "BTCUSDT")
    then = checked(settings, states, MIDNIGHT + 2 * HOUR)
    assert (then.verdicts, then.checked_until) == ({"equal": 5}, {BTC: end()})
    assert hot.client.command("SELECT countIf(result != 'equal') FROM quality_checks") == 0


def test_a_check_that_could_not_be_made_is_a_failed_run_and_is_made_up(
    settings: Settings, store: SeriesStore, hot: HotTables, states: ScheduleStates
) -> None:
    store_trades(hot, tape(), "BTCUSDT")
    store_bars(store, "BTCUSDT", landed(MIDNIGHT - HOUR, MIDNIGHT))
    good = checked(settings, states, MIDNIGHT)
    store_bars(store, "BTCUSDT", landed(MIDNIGHT, end()))
    nowhere = settings.model_copy(update={"clickhouse_http_port": 1})
    with pytest.raises(StoreError):
        asyncio.run(ScheduleRuns(nowhere, states, lambda: MIDNIGHT + HOUR).run(hourly()))
    failed = states.read("hourly")
    assert failed is not None
    assert "No ClickHouse answers" in failed.error
    assert (failed.succeeded_at, failed.checked_until, failed.verdicts) == (MIDNIGHT, good.checked_until, good.verdicts)
    assert checked(settings, states, MIDNIGHT + 2 * HOUR).verdicts == {"equal": landed(MIDNIGHT, end()).height}


class Holding(SeriesStore):
    """Lets every statement wait for `go_on`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.asked, self.go_on = threading.Event(), threading.Event()

    def table(self, statement: str, parameters: Mapping[str, Any]) -> pa.Table:
        self.asked.set()
        assert self.go_on.wait(60)
        return super().table(statement, parameters)


def test_a_check_that_is_stopped_ends_after_the_day_that_it_is_at(
    settings: Settings, store: SeriesStore, hot: HotTables
) -> None:
    store_trades(hot, tape(), "BTCUSDT")
    store_bars(store, "BTCUSDT")
    holding = Holding(settings)
    markets = stored_markets(store, SymbolRegistry.load(settings.symbols_file), "1m", 60)

    async def stopped() -> None:
        task = asyncio.create_task(check_landed(holding, markets, {}, MIDNIGHT + HOUR))
        assert await asyncio.to_thread(holding.asked.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        holding.go_on.set()

    # It returns when the thread has ended.
    asyncio.run(stopped())
    days = hot.client.query("SELECT DISTINCT toString(toDate(window_start)) FROM quality_checks_log").result_rows
    assert days == [("2024-08-08",)]


def test_the_service_and_the_commands_show_what_was_found(
    settings: Settings, store: SeriesStore, hot: HotTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Differences are a good run, and a number for each cause; the service shows it after a restart, too."""
    trades, faults = faulty()
    store_trades(hot, trades, "BTCUSDT")
    store_bars(store, "BTCUSDT")
    before = trades.head(1).with_columns(timestamp=MIDNIGHT)
    after = before.with_columns(timestamp=MIDNIGHT + MINUTE, price=pl.col("price") * 2, trade_id=pl.lit("2"))
    store_trades(hot, pl.concat([before, after]), "SOLUSDT")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("MEDALLION_CLICKHOUSE_PASSWORD", PASSWORD)
    given = settings.model_dump(include={"clickhouse_host", "clickhouse_http_port", "clickhouse_database"})
    for name, value in given.items():
        monkeypatch.setenv(f"MEDALLION_{name}".upper(), str(value))
    file = tmp_path / "schedules.yaml"
    file.write_text(yaml.safe_dump({"schedules": {"hourly": {"check": "candles", "frame": "1m", "interval": "1h"}}}))

    def ask(*words: str) -> str:
        answer = CliRunner().invoke(app, [*words, "--file", str(file)], catch_exceptions=False)
        assert answer.exit_code == 0, answer.output
        return answer.stdout

    assert json.loads(ask("run", "hourly", "--json"))["markets"] == []
    expected = {cause: 1 for cause, _ in faults.values()} | {"equal": published().height - len(faults)}
    states = ScheduleStates(tmp_path)
    runs = ScheduleRuns(settings, states, lambda: MIDNIGHT + HOUR)
    for _ in range(2):
        with serving(ScheduleService([hourly()], runs, "127.0.0.1", 0)) as address:
            eventually(lambda: samples(address)["last_success_timestamp_seconds", "hourly"] > 0)
            found = samples(address)
        # Labels are in order of their values.
        shown = {
            next(iter({*key[1:]} - {"hourly"})): value
            for key, value in found.items()
            if key[0] == "medallion_quality_windows"
        }
        assert len(shown) == 14
        anomalies = {key[1:]: value for key, value in found.items() if key[0] == "medallion_quality_anomalies"}
        assert {key: count for key, count in anomalies.items() if count} == {("hourly", "jump"): 1}
        # As if it had ended now: the next service has nothing to make up.
        state = states.read("hourly")
        assert state is not None
        states.write(
            ScheduleState(
                "hourly",
                datetime.now(UTC),
                datetime.now(UTC),
                state.succeeded_at,
                verdicts=expected,
                anomalies=state.anomalies,
            )
        )
    (listed,) = json.loads(ask("list", "--json"))
    assert (listed["check"], listed["state"], listed["verdicts"]) == ("candles", "ok", {"equal": 0})
