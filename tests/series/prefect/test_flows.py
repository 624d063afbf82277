"""Invariant: a flow of Prefect is `schedule run`: what it stores and what is known of it afterwards are the same.

`make test-prefect`: Prefect's harness is for flows of its own process, and Prefect has an environment of its own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

pytest.importorskip("prefect", reason="Prefect has an environment of its own, made by `make test-prefect`")

from prefect import Flow, State
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from cli.common.state_folder import find_state_folder
from cli.messages.schedule import app, prefect_flow
from config.settings import Settings
from series.schedules.flows import PrefectServerError, flow_of, runner_of, serve_flows
from series.schedules.run import ScheduleRuns
from series.schedules.state import ScheduleState, ScheduleStates
from tests.clickhouse import ENVIRONMENT
from tests.offload.hot_tables import HotTables
from tests.series.test_schedules import HOUR, NOW, Exchange, exchange, runs, schedule, states, stored, url

__all__ = ["exchange", "runs", "states", "url"]
pytestmark = pytest.mark.prefect
BTC, ETH = "bars binance BTCUSDT 1d", "bars binance ETHUSDT 1d"


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Prefect server that tells nobody that it runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DO_NOT_TRACK", "1")
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        home = tmp_path_factory.mktemp("prefect")
        with temporary_settings({PREFECT_HOME: home}), prefect_test_harness(server_startup_timeout=120):
            yield


def ran(flow: Flow) -> tuple[State, FlowRun, list[TaskRun]]:
    """The state in which a run of the flow ended, and what the server knows of it."""
    state: State = asyncio.run(flow(return_state=True))
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(state.state_details.flow_run_id)
        only = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
        return state, run, client.read_task_runs(flow_run_filter=only)


def ended(tasks: list[TaskRun]) -> list[tuple[str, str]]:
    return sorted((task.name.rsplit("-", 1)[0], task.state_name) for task in tasks)


def test_a_run_has_a_task_a_market(runs: ScheduleRuns, states: ScheduleStates, hot: HotTables, url: str) -> None:
    state, run, tasks = ran(flow_of(schedule(url), runs))
    assert (state.name, state.message) == ("Completed", "8 rows, 0 of them rejected")
    assert ended(tasks) == [(BTC, "Completed"), (ETH, "Completed")]
    assert stored(hot) == {"BTCUSDT": 4, "ETHUSDT": 4}
    kept = states.read("daily")
    assert kept is not None
    assert (kept.rows, kept.error, kept.succeeded_at) == (8, "", kept.started_at)
    assert run.run_count == 1


@pytest.fixture
def named(
    settings: Settings, hot: HotTables, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ScheduleStates:
    """The states of the stack and of the schedules file that the environment names."""
    file = tmp_path / "schedules.yaml"
    entry = json.loads(schedule(url).model_dump_json(by_alias=True, exclude={"name", "interval"}))
    entry |= {"interval": "5m", "from": (datetime.now(UTC) - timedelta(days=3)).date()}
    file.write_text(yaml.safe_dump({"schedules": {"daily": entry}}))
    names = {"clickhouse_host", "clickhouse_http_port", "clickhouse_database"}
    given = {f"MEDALLION_{name}".upper(): str(value) for name, value in settings.model_dump(include=names).items()}
    given |= {"MEDALLION_SCHEDULES_FILE": str(file), "XDG_STATE_HOME": str(tmp_path / "state"), **ENVIRONMENT}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return ScheduleStates(find_state_folder(None, Settings()).folder)


def listed() -> dict[str, Any]:
    answer = CliRunner().invoke(app, ["list", "--json"], catch_exceptions=False)
    (shown,) = json.loads(answer.stdout)
    return dict(shown)


def test_a_market_that_fails_stops_no_other_and_schedule_list_names_it(
    named: ScheduleStates, hot: HotTables, exchange: Exchange
) -> None:
    exchange.broken = {"BTCUSDT"}
    # The next turn is as near as a repetition, so there is none.
    state, _, tasks = ran(prefect_flow("daily"))
    assert state.name == "Failed"
    assert "BTCUSDT" in str(state.message)
    assert ended(tasks) == [(BTC, "Failed"), (ETH, "Completed")]
    assert stored(hot) == {"ETHUSDT": 4}
    shown = listed()
    assert (shown["state"], shown["rows"], shown["succeeded_at"]) == ("failed", 4, None)
    assert "BTCUSDT" in shown["error"]
    assert "ETHUSDT" not in shown["error"]
    exchange.broken = set()
    assert ran(prefect_flow("daily"))[0].name == "Completed"
    assert (listed()["state"], listed()["error"]) == ("ok", "")


class Once(set[str]):
    """What is broken the first time that somebody asks."""

    def __contains__(self, name: object) -> bool:
        is_in = super().__contains__(name)
        self.discard(str(name))
        return is_in


def test_prefect_repeats_a_failed_run_and_the_other_market_goes_on_from_its_newest_row(
    runs: ScheduleRuns, states: ScheduleStates, hot: HotTables, exchange: Exchange, url: str
) -> None:
    exchange.broken = Once({"BTCUSDT"})
    flow = flow_of(schedule(url, "1h"), runs, retry_seconds=1)
    assert flow.retries == 3_599
    state, run, tasks = ran(flow)
    assert (state.name, run.run_count) == ("Completed", 2)
    assert ended(tasks) == [(BTC, "Completed"), (BTC, "Failed"), (ETH, "Completed"), (ETH, "Completed")]
    assert stored(hot) == {"BTCUSDT": 4, "ETHUSDT": 4}
    asked = [since for symbol, since in exchange.asked if symbol == "ETHUSDT"]
    assert asked.count(min(asked)) == 1
    kept = states.read("daily")
    assert kept is not None
    assert (kept.error, kept.succeeded_at) == ("", kept.started_at)


@pytest.mark.parametrize(("interval", "retries"), [("30s", 0), ("5m", 0), ("6m", 1), ("1h", 11), ("1d", 287)])
def test_the_last_repetition_comes_before_the_next_turn(
    interval: str, retries: int, settings: Settings, states: ScheduleStates
) -> None:
    assert flow_of(schedule("", interval), ScheduleRuns(settings, states)).retries == retries


def test_what_need_not_run_is_left_out(
    runs: ScheduleRuns, states: ScheduleStates, hot: HotTables, exchange: Exchange, url: str
) -> None:
    flow = flow_of(schedule(url), runs)
    said = []
    with states.running("daily"):
        said.append(ran(flow)[0])
    states.pause("daily")
    said.append(ran(flow)[0])
    states.resume("daily")
    made_up = datetime.now(UTC) + HOUR
    states.write(ScheduleState("daily", made_up, made_up, made_up))
    said.append(ran(flow)[0])
    assert {state.name for state in said} == {"Skipped"}
    for state, words in zip(said, ("daily is running", "daily is paused", made_up.isoformat()), strict=True):
        assert words in str(state.message)
    assert exchange.asked == []


def test_what_was_missed_is_made_up_once_when_the_runner_starts(
    runs: ScheduleRuns, states: ScheduleStates, hot: HotTables, exchange: Exchange, url: str
) -> None:
    """In processes of Prefect's runner. A second run of the same schedule at the same time is not one."""
    later = schedule(url, "1d", name="later")
    good = datetime.now(UTC) - HOUR
    for name, at in (("later", good), ("daily", NOW)):
        with states.running(name):
            states.write(ScheduleState(name, at, at, at))

    async def serve_once() -> None:
        runner = await runner_of([schedule(url), later], runs)
        async with get_client() as client:
            deployment = await client.read_deployment_by_name("medallion-daily/schedule")
            await client.create_flow_run_from_deployment(deployment.id)
        await runner.start(run_once=True)

    asyncio.run(serve_once())
    with get_client(sync_client=True) as client:
        anchors = {client.read_flow(one.flow_id).name: one.schedules[0].schedule for one in client.read_deployments()}
        found = [one for one in client.read_flow_runs() if one.deployment_id is not None]
    assert anchors["medallion-later"].interval == timedelta(days=1)
    assert anchors["medallion-later"].anchor_date == good + timedelta(days=1)
    assert anchors["medallion-daily"].interval == HOUR
    ends = sorted((str(one.state_name), str(one.state.message)) for one in found if one.state.is_final())
    assert [message for name, message in ends if name == "Completed"] == ["8 rows, 0 of them rejected"]
    assert len(ends) == 2
    assert {name for name, _ in ends} - {"Completed"} <= {"Skipped", "Cancelled"}
    assert stored(hot) == {"BTCUSDT": 4, "ETHUSDT": 4}
    kept = states.read("later")
    assert kept is not None
    assert kept.started_at == good


def test_a_server_has_to_be_named(runs: ScheduleRuns, url: str) -> None:
    with temporary_settings({PREFECT_API_URL: None}), pytest.raises(PrefectServerError, match="prefect server start"):
        serve_flows([schedule(url)], runs)
