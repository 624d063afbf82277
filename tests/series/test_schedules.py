"""Invariant: a schedule brings each market from its newest row to now, once at a time, and says what is missing."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import urllib3
import yaml
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from cli.common.schedules import last_runs
from cli.common.state_folder import find_state_folder
from cli.messages.schedule import PrefectMissingError, app
from config.settings import DEFAULT_SCHEDULES_FILE, Settings
from ddl.layers import load_layers
from series.run import RunReport
from series.schedules.declaration import CheckSchedule, SchedulesFileError, SeriesSchedule, load_schedules
from series.schedules.run import ScheduleRuns
from series.schedules.service import ScheduleService
from series.schedules.state import ScheduleBusyError, ScheduleState, ScheduleStates, due_at
from series.store import StoreError
from tests.clickhouse import ENVIRONMENT
from tests.offload.hot_tables import HotTables
from tests.series.klines import kline
from tests.series.test_providers import listed
from tests.series.venue import Query, Reply, answering

ROOT = Path(__file__).resolve().parents[2]
DAY_S = 86_400
HOUR = timedelta(hours=1)
CANDLES = [frame.code for frame in load_layers().timeframes]
NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


def today_ms() -> int:
    return int(datetime.now(UTC).timestamp()) // DAY_S * DAY_S * 1_000


def days(count: int) -> list[list[object]]:
    """A bar of each of the last days, today's as the last."""
    return [kline(today_ms() - back * DAY_S * 1_000) for back in reversed(range(count))]


class Exchange:
    """Serves daily bars of two markets; counts what it is asked, and breaks as it is told."""

    def __init__(self, tape: list[list[object]]) -> None:
        self.tape = tape
        self.asked: list[tuple[str, int]] = []
        self.broken: set[str] = set()
        self.hold: threading.Event | None = None
        self.holds = threading.Event()

    def page(self, query: Query) -> Reply:
        since = int(query["startTime"])
        self.asked.append((query["symbol"], since))
        if self.hold is not None:
            self.holds.set()
            assert self.hold.wait(60)
        if query["symbol"] in self.broken:
            return Reply(b"<html>maintenance</html>", kind="text/html")
        return Reply([one for one in self.tape if int(str(one[0])) >= since])


@pytest.fixture
def exchange() -> Exchange:
    return Exchange(days(5))


@pytest.fixture
def url(exchange: Exchange) -> Iterator[str]:
    with answering(listed(exchange.page)) as address:
        yield address


def schedule(url: str, interval: str = "1h", **other: object) -> SeriesSchedule:
    said = {
        "name": "daily",
        "series": "bars",
        "provider": "ccxt",
        "instruments": {"binance": ["BTCUSDT", "ETHUSDT"]},
        "frame": "1d",
        "interval": interval,
        "from": (datetime.now(UTC) - timedelta(days=3)).date(),
        "rest_endpoint": url,
    }
    return SeriesSchedule.model_validate(said | other)


@pytest.fixture
def states(tmp_path: Path) -> ScheduleStates:
    return ScheduleStates(tmp_path)


@pytest.fixture
def runs(settings: Settings, hot: HotTables, states: ScheduleStates) -> ScheduleRuns:
    return ScheduleRuns(settings, states)


def stored(hot: HotTables) -> dict[str, int]:
    return dict(hot.client.query("SELECT symbol, count() FROM bars GROUP BY symbol").result_rows)


def test_the_first_run_begins_at_the_declared_day_and_the_next_at_the_newest_row(
    runs: ScheduleRuns, hot: HotTables, exchange: Exchange, url: str
) -> None:
    asyncio.run(runs.run(schedule(url)))
    # Today and the three days before; the fifth bar is older than `from`.
    assert stored(hot) == {"BTCUSDT": 4, "ETHUSDT": 4}
    exchange.asked.clear()
    asyncio.run(runs.run(schedule(url)))
    # Yesterday's bar is the newest that was over.
    yesterday = today_ms() - DAY_S * 1_000
    assert {symbol: min(since for one, since in exchange.asked if one == symbol) for symbol in stored(hot)} == {
        "BTCUSDT": yesterday,
        "ETHUSDT": yesterday,
    }


def test_a_market_that_fails_stops_no_other_and_is_named(
    runs: ScheduleRuns, states: ScheduleStates, hot: HotTables, exchange: Exchange, url: str
) -> None:
    exchange.broken = {"BTCUSDT"}
    wanted = schedule(url, instruments={"nowhere": ["A"], "binance": ["BTCUSDT", "NOSUCH", "ETHUSDT"]})
    _, report = asyncio.run(runs.run(wanted))
    assert isinstance(report, RunReport)
    assert stored(hot) == {"ETHUSDT": 4}
    assert [name for name in ("nowhere", "BTCUSDT", "NOSUCH", "ETHUSDT") if name in "; ".join(report.failures)] == [
        *("nowhere", "BTCUSDT", "NOSUCH")
    ]
    state = states.read("daily")
    assert state is not None
    assert (state.error, state.succeeded_at) == ("; ".join(report.failures), None)
    assert (state.rows, state.ended_at is not None) == (4, True)


def test_two_runs_of_one_schedule_cannot_overlap(
    runs: ScheduleRuns, states: ScheduleStates, hot: HotTables, exchange: Exchange, url: str
) -> None:
    exchange.hold = threading.Event()
    first = threading.Thread(target=lambda: asyncio.run(runs.run(schedule(url))))
    first.start()
    try:
        assert exchange.holds.wait(60)
        assert states.is_running("daily")
        with pytest.raises(ScheduleBusyError, match="daily is running"):
            asyncio.run(runs.run(schedule(url)))
    finally:
        exchange.hold.set()
        first.join(60)
    assert not states.is_running("daily")
    assert stored(hot) == {"BTCUSDT": 4, "ETHUSDT": 4}


def test_a_lost_clickhouse_is_the_last_error(settings: Settings, states: ScheduleStates, url: str) -> None:
    nowhere = settings.model_copy(update={"clickhouse_http_port": 1})
    clock = iter((NOW, NOW + HOUR))
    with pytest.raises(StoreError):
        asyncio.run(ScheduleRuns(nowhere, states, lambda: next(clock)).run(schedule(url)))
    state = states.read("daily")
    assert state is not None
    assert (state.started_at, state.ended_at, state.succeeded_at) == (NOW, NOW + HOUR, None)
    assert "No ClickHouse answers" in state.error


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (None, NOW),
        (ScheduleState("a", NOW - HOUR / 2, NOW, NOW - HOUR / 2), NOW + HOUR / 2),
        (ScheduleState("a", NOW - 9 * HOUR, NOW - 8 * HOUR, NOW - 9 * HOUR), NOW),
        (ScheduleState("a", NOW - HOUR / 2, NOW, error="x"), NOW),
        (ScheduleState("a", NOW - HOUR / 2), NOW),
    ],
    ids=["never ran", "ran well", "missed nine", "failed", "was killed"],
)
def test_what_was_missed_is_made_up_at_once(state: ScheduleState | None, expected: datetime) -> None:
    assert due_at(state, HOUR, NOW) == expected


@contextmanager
def serving(service: ScheduleService) -> Iterator[str]:
    """The service in a thread; its address."""
    ports: list[int] = []
    up, stop = threading.Event(), threading.Event()

    def ready(port: int) -> None:
        ports.append(port)
        up.set()

    thread = threading.Thread(target=service.serve, args=(stop, ready))
    thread.start()
    try:
        assert up.wait(60)
        yield f"http://127.0.0.1:{ports[0]}"
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


def samples(url: str) -> dict[tuple[str, ...], float]:
    text = urllib3.request("GET", f"{url}/metrics", retries=False, timeout=20).data.decode()
    return {
        (sample.name.removeprefix("medallion_schedule_"), *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def eventually(check: Callable[[], bool]) -> None:
    deadline = threading.Event()
    for _ in range(600):
        if check():
            return
        deadline.wait(0.1)
    raise AssertionError("not in a minute")


def test_the_service_runs_what_is_due_repeats_what_failed_and_leaves_out_what_is_paused(
    runs: ScheduleRuns, states: ScheduleStates, hot: HotTables, exchange: Exchange, url: str
) -> None:
    exchange.broken = {"BTCUSDT"}
    good = schedule(url, "1d", name="good", instruments={"binance": ["ETHUSDT"]})
    paused, later = good.model_copy(update={"name": "paused"}), good.model_copy(update={"name": "later"})
    states.pause("paused")
    states.write(ScheduleState("later", datetime.now(UTC), datetime.now(UTC), NOW))
    service = ScheduleService([schedule(url, "1d"), good, paused, later], runs, "127.0.0.1", 0, retry_seconds=0.5)
    with serving(service) as address:
        eventually(lambda: samples(address).get(("runs_total", "daily", "failed"), 0) >= 2)
        eventually(lambda: samples(address).get(("runs_total", "good", "ok")) == 1)
        health = urllib3.request("GET", f"{address}/healthz", retries=False)
        assert (health.status, list(json.loads(health.data)["faults"])) == (503, ["daily"])
        assert samples(address)["last_success_timestamp_seconds", "daily"] == 0
        exchange.broken = set()
        eventually(lambda: samples(address).get(("runs_total", "daily", "ok")) == 1)
        assert urllib3.request("GET", f"{address}/healthz", retries=False).status == 200
        found = samples(address)
    state = states.read("daily")
    assert state is not None
    assert state.succeeded_at is not None
    assert found["last_success_timestamp_seconds", "daily"] == state.succeeded_at.timestamp()
    assert found["last_success_timestamp_seconds", "later"] == NOW.timestamp()
    assert found["interval_seconds", "later"] == DAY_S
    assert {name: found["paused", name] for name in ("paused", "later")} == {"paused": 1, "later": 0}
    assert not [key for key in found if key[0] == "runs_total" and {"paused", "later"} & set(key)]
    assert stored(hot) == {"BTCUSDT": 4, "ETHUSDT": 4}


def test_turns_come_again(runs: ScheduleRuns, states: ScheduleStates, hot: HotTables, url: str) -> None:
    with serving(ScheduleService([schedule(url, "1s")], runs, "127.0.0.1", 0)) as address:
        eventually(lambda: samples(address).get(("runs_total", "daily", "ok"), 0) >= 2)


# That the service as a process does what is due, and ends on SIGTERM, is in stack/operation/test_lifecycle.py as well.
@pytest.mark.parametrize("served", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_the_commands(
    served: bool,
    settings: Settings,
    hot: HotTables,
    exchange: Exchange,
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`list` shows what `run` did, or `serve` in a process of its own, which ends well on SIGTERM."""
    file = tmp_path / "schedules.yaml"
    entry = json.loads(schedule(url).model_dump_json(by_alias=True, exclude={"name", "interval"}))
    entry |= {"interval": "1h", "from": (datetime.now(UTC) - timedelta(days=3)).date()}
    file.write_text(yaml.safe_dump({"schedules": {"daily": entry, "idle": entry}}))
    names = {"clickhouse_host", "clickhouse_http_port", "clickhouse_database"}
    given = {f"MEDALLION_{name}".upper(): str(value) for name, value in settings.model_dump(include=names).items()}
    given |= {"MEDALLION_SCHEDULES_FILE": str(file), "XDG_STATE_HOME": str(tmp_path / "state"), **ENVIRONMENT}
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    def ask(*words: str) -> str:
        answer = CliRunner().invoke(app, words, catch_exceptions=False)
        assert answer.exit_code == 0, answer.output
        return answer.stdout

    assert [one["state"] for one in json.loads(ask("list", "--json"))] == ["new", "new"]
    ask("pause", "idle")
    if served:
        serve_until(lambda: json.loads(ask("list", "--json"))[0]["state"] == "ok")
    else:
        assert json.loads(ask("run", "daily", "--json"))["failures"] == []
    shown = json.loads(ask("list", "--json"))
    assert [(one["state"], one["rows"]) for one in shown] == [("ok", 8), ("paused", 0)]
    assert datetime.fromisoformat(shown[0]["due_at"]) == datetime.fromisoformat(shown[0]["started_at"]) + HOUR
    ask("resume", "idle")
    assert json.loads(ask("run", "idle", "--json"))["failures"] == []
    assert json.loads(ask("list", "--json"))[1]["state"] == "ok"
    assert "daily" in ask("list")
    # What `medallion status` shows.
    shown_runs = last_runs(ScheduleStates(find_state_folder(None, Settings()).folder))
    assert [(one["schedule"], one["state"], one["error"]) for one in shown_runs] == [
        ("daily", "ok", ""),
        ("idle", "ok", ""),
    ]


def serve_until(check: Callable[[], bool]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "cli", "schedule", "serve"],
        cwd=ROOT, env={**os.environ}, stderr=subprocess.PIPE, text=True,
    ) as service:  # fmt: skip
        eventually(check)
        service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0
        assert service.stderr is not None
        assert "schedules stop" in service.stderr.read()


@pytest.mark.skipif(importlib.util.find_spec("prefect") is not None, reason="Prefect is installed")
def test_without_prefect_the_command_says_what_to_install(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDALLION_CLICKHOUSE_HOST", settings.clickhouse_host)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with pytest.raises(PrefectMissingError, match=r"no module prefect: `pip install 'medallion\[prefect\]'`"):
        CliRunner().invoke(app, ["serve", "--with", "prefect"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"series": "stocks"}, "no series 'stocks'"),
        ({"provider": "alternative_me"}, "has no bars"),
        ({"provider": "polygon"}, "instruments of polygon only"),
        ({"frame": "7m"}, "frame is one of 1m"),
        ({"interval": "often"}, "interval: an interval is"),
        ({"interval": 5}, "interval: an interval is"),
        ({"instruments": {}}, "name the instruments"),
        ({"instruments": {"binance": []}}, "name the instruments"),
        ({"series": "fear_greed", "provider": "", "frame": ""}, "it has no instruments"),
        ({"from": None}, "from"),
        ({"every": "5m"}, "every"),
    ],
)
def test_a_faulty_file_is_refused_and_the_entry_named(change: dict[str, object], words: str, tmp_path: Path) -> None:
    good = {
        "series": "bars", "instruments": {"binance": ["BTCUSDT"]}, "frame": "1m", "interval": "5m",
        "from": datetime(2026, 1, 1, tzinfo=UTC).date(),
    }  # fmt: skip
    file = tmp_path / "schedules.yaml"
    file.write_text(yaml.safe_dump({"schedules": {"minutes": good}}))
    (minutes,) = load_schedules(file, CANDLES)
    assert isinstance(minutes, SeriesSchedule)
    assert (minutes.interval, minutes.start) == (timedelta(minutes=5), datetime(2026, 1, 1, tzinfo=UTC))
    file.write_text(yaml.safe_dump({"schedules": {"minutes": good | change}}))
    with pytest.raises(SchedulesFileError) as refused:
        load_schedules(file, CANDLES)
    assert "minutes" in str(refused.value)
    assert words in str(refused.value)


def test_a_deep_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "schedules.yaml"
    file.write_text("[" * 2_000)
    with pytest.raises(SchedulesFileError, match="not a valid YAML file"):
        load_schedules(file, CANDLES)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"check": "trades"}, "hourly.check: "),
        ({"frame": "7m"}, "frame is one of 1m, 3m"),
        ({"frame": "3m"}, "no candles of 3m; frame is one of 1m, 5m"),
        ({"interval": "hourly"}, "interval: an interval is"),
        ({"series": "bars"}, "hourly.series: "),
    ],
)
def test_a_faulty_check_is_refused_and_the_entry_named(change: dict[str, object], words: str, tmp_path: Path) -> None:
    good = {"check": "candles", "frame": "1m", "interval": "1h"}
    file = tmp_path / "schedules.yaml"
    file.write_text(yaml.safe_dump({"schedules": {"hourly": good | change}}))
    with pytest.raises(SchedulesFileError) as refused:
        load_schedules(file, CANDLES)
    assert words in str(refused.value)


def test_as_shipped_the_candles_are_checked_hourly_and_nobody_is_asked(tmp_path: Path) -> None:
    (quality,) = load_schedules(DEFAULT_SCHEDULES_FILE, CANDLES)
    assert isinstance(quality, CheckSchedule)
    assert (quality.frame, quality.seconds, quality.interval) == ("1m", 60, HOUR)
    text = DEFAULT_SCHEDULES_FILE.read_text()
    example = "\n".join(
        line.removeprefix("# ") for line in text.splitlines() if line.startswith(("# schedules", "#  "))
    )
    file = tmp_path / "schedules.yaml"
    file.write_text(example)
    assert [one.name for one in load_schedules(file, CANDLES)] == ["funding", "minutes", "mood"]
