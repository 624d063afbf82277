"""`up`, `down` and `status`: what an operator relies on when things go right, and when they do not."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import orjson
import psutil
import pytest
import requests
import sqlalchemy
from clickhouse_driver import Client
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from cli.stack.commands import up
from ddl.analyst import analyst_tables, listed_tables
from ddl.layers import load_layers
from deploy.embedded import control
from deploy.embedded.layout import DataDir, StackError
from series.schedules.state import ScheduleStates
from tests.node.conftest import eventually as wait_until
from tests.stack.conftest import Medallion, clean_environment

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def shared_stack(tmp_path_factory: pytest.TempPathFactory, medallion: Medallion, applied: Path) -> Iterator[Path]:
    """As everywhere, with the schedules."""
    folder = shutil.copytree(applied, tmp_path_factory.mktemp("shared") / "stack", symlinks=True)
    medallion("up", "--data-dir", folder, "--detach", "--schedules")
    yield folder
    medallion("down", "--data-dir", folder, "--timeout", "0", check=False)


def in_foreground(folder: Path, state_home: Path) -> subprocess.Popen[str]:
    """`medallion up`, and what it prints on standard error."""
    command = [sys.executable, "-m", "cli", "up", "--data-dir", folder]
    return subprocess.Popen(command, env=clean_environment(state_home), stderr=subprocess.PIPE, text=True)


def started_in_foreground(folder: Path, state_home: Path) -> subprocess.Popen[str]:
    """As `in_foreground`, once the stack runs."""
    shown = in_foreground(folder, state_home)
    assert shown.stderr is not None
    assert any("Press Ctrl-C" in line for line in shown.stderr)
    return shown


def stack_state(stack: Path) -> str:
    state = DataDir(stack).read()
    return "" if state is None else state.state


def pids(stack: Path) -> dict[str, int]:
    """The living processes of the stack by name, the supervisor too, as its file has them."""
    state = DataDir(stack).read()
    assert state is not None
    living = {service.name: service.pid for service in state.services if service.pid is not None}
    return {"supervisor": state.supervisor_pid} | living


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


eventually = retry(
    retry=retry_if_exception_type(AssertionError), stop=stop_after_delay(90), wait=wait_fixed(0.1), reraise=True
)


@eventually
def back(stack: Path, name: str, before: int) -> None:
    """Returns when another process has the place of this one and all are healthy, as the supervisor's file has it.

    To ask `medallion status` again and again costs half a second of CPU each time.
    """
    state = DataDir(stack).read()
    assert state is not None
    assert state.state == "healthy"
    assert pids(stack).get(name) not in (None, before)


# Its sibling: tests/series/test_schedules.py, without a stack.
@pytest.mark.nightly
def test_the_schedules_run_with_the_stack(shared_stack: Path, medallion: Medallion) -> None:
    """As compose does: by default. Their state is the folder's, and a killed service comes back."""
    assert inspect.signature(up).parameters["schedules"].default is True

    def last_run() -> dict[str, object]:
        (shown,) = json.loads(medallion("schedule", "list", "--data-dir", shared_stack, "--json").stdout)
        return dict(shown)

    @eventually
    def it_has_run() -> None:
        state = ScheduleStates(shared_stack).read("quality")
        assert state is not None
        assert state.succeeded_at is not None

    it_has_run()
    first = last_run()
    assert (first["schedule"], first["state"]) == ("quality", "ok")
    state = json.loads(medallion("status", "--data-dir", shared_stack, "--json").stdout)
    assert [(one["schedule"], one["started_at"]) for one in state["schedules"]] == [("quality", first["started_at"])]
    (service,) = (one for one in state["services"] if one["name"] == "schedules")
    metrics = requests.get(service["metrics_url"], timeout=30).text
    assert 'medallion_schedule_interval_seconds{schedule="quality"} 3600.0' in metrics
    health = requests.get(service["metrics_url"].replace("/metrics", "/healthz"), timeout=30)
    assert (health.status_code, health.json()["faults"]) == (200, {})
    os.kill(service["pid"], signal.SIGKILL)
    back(shared_stack, "schedules", service["pid"])
    assert medallion("status", "--data-dir", shared_stack, check=False).returncode == 0
    # Its last run was good and an hour has not passed.
    assert last_run()["started_at"] == first["started_at"]


# Of the fast tier: tests/offload/commands/test_status.py, of a deployed stack.
@pytest.mark.nightly
def test_a_broker_that_does_not_answer_hides_nothing_else(shared_stack: Path, medallion: Medallion) -> None:
    before = pids(shared_stack)
    os.kill(before["broker"], signal.SIGSTOP)
    try:
        shown = medallion("status", "--data-dir", shared_stack, "--json", check=False)
    finally:
        os.kill(before["broker"], signal.SIGCONT)
    status = json.loads(shown.stdout)
    assert (shown.returncode, status["state"], status["lag"]) == (1, "degraded", None)
    assert "does not answer" in status["detail"]
    assert {one["name"] for one in status["services"]} | {"supervisor"} == {*before}
    assert [one["schedule"] for one in status["schedules"]] == ["quality"]


def test_a_second_up_on_the_same_folder_is_refused_and_harms_nothing(shared_stack: Path, medallion: Medallion) -> None:
    before = pids(shared_stack)
    second = medallion("up", "--data-dir", shared_stack, "--detach", check=False)
    assert second.returncode == 1
    assert "already running" in second.stderr
    assert "medallion down" in second.stderr
    assert pids(shared_stack) == before


def test_an_up_while_the_stack_is_being_stopped_waits_for_it(
    shared_stack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused only if the stack does not end."""
    folder = DataDir(tmp_path / "stack")
    folder.create()
    stopping = DataDir(shared_stack).read()
    assert stopping is not None
    folder.write(stopping.model_copy(update={"state": "stopping"}))
    waited = threading.Event()

    class StartedError(Exception):
        """Nobody has the folder any more."""

    def survivors(_: DataDir) -> int:
        assert waited.is_set()
        assert not folder.locked()
        raise StartedError

    def end(_: float) -> None:
        waited.set()
        held.close()

    monkeypatch.setattr(control, "_remove_survivors", survivors)
    monkeypatch.setattr(os, "umask", lambda _: 0)
    with contextlib.ExitStack() as held:
        held.enter_context(folder.lock())
        with monkeypatch.context() as impatient:
            impatient.setattr(control, "STOP_TIMEOUT_S", 0.0)
            with pytest.raises(StackError, match=f"pid {stopping.supervisor_pid}.* did not stop"):
                control.start(folder.path, 0, 0, 1, lambda _: None)
        monkeypatch.setattr(time, "sleep", end)
        with pytest.raises(StartedError):
            control.start(folder.path, 0, 0, 1, lambda _: None)


WAIT = "import signal; signal.pause()"


def test_a_stack_without_its_state_file_is_stopped(tmp_path: Path) -> None:
    """Only the one on the folder, which may be named by another path. Other processes may name the supervisor, too."""
    running = {"search": subprocess.Popen([sys.executable, "-c", WAIT, "deploy.embedded.supervisor"])}
    for name in ("stack", "another"):
        folder = DataDir(tmp_path / name)
        folder.create()
        named = ["deploy.embedded.supervisor", "--data-dir", str(folder.path)]
        with folder.lock() as lock:
            running[name] = subprocess.Popen([sys.executable, "-c", WAIT, *named], pass_fds=(lock,))
    try:
        (tmp_path / "link").symlink_to(tmp_path)
        assert control.stop(tmp_path / "link" / "stack")
        assert running["stack"].wait() == -signal.SIGTERM
        assert [name for name, process in running.items() if process.poll() is None] == ["search", "another"]
    finally:
        for process in running.values():
            process.kill()
            process.wait()


# Its siblings: the storms (chaos/test_storm.py) kill each of them and wait until all are healthy.
@pytest.mark.nightly
def test_a_killed_process_comes_back(shared_stack: Path, medallion: Medallion) -> None:
    for name in ("silver-0", "clickhouse"):
        victim = pids(shared_stack)[name]
        os.kill(victim, signal.SIGKILL)
        back(shared_stack, name, victim)
    assert medallion("status", "--data-dir", shared_stack, check=False).returncode == 0
    assert medallion("query", "SELECT 1", "--data-dir", shared_stack).stdout == "1\n"


# Its siblings: offload/test_service.py has the service, test_a_killed_process_comes_back its keeper.
@pytest.mark.nightly
def test_the_offload_is_a_service_of_its_own_where_it_is_asked_for(tmp_path: Path, medallion: Medallion) -> None:
    folder = tmp_path / "stack"
    medallion("up", "--data-dir", folder, "--detach", "--offload")
    before = pids(folder)
    assert set(before) == {"supervisor", "broker", "clickhouse", "silver-0", "offload"}
    os.kill(before["offload"], signal.SIGKILL)
    back(folder, "offload", before["offload"])
    assert medallion("status", "--data-dir", folder, check=False).returncode == 0
    after = pids(folder)
    medallion("down", "--data-dir", folder)
    assert [name for name, pid in after.items() if alive(pid)] == []


# That several offloads at once write every row once is in tests/offload/hourly/test_faults.py.
@pytest.mark.nightly
def test_an_offload_by_hand_beside_the_service(tmp_path: Path, medallion: Medallion, recordings: Path) -> None:
    folder = tmp_path / "stack"
    medallion("up", "--data-dir", folder, "--detach", "--offload")
    medallion("replay", recordings / "kraken_v2_btcusd.jsonl", "--exchange", "kraken", "--data-dir", folder)
    medallion("drain", "--data-dir", folder)
    medallion("offload", "run", "--until-now", "--data-dir", folder)
    tables = json.loads(medallion("offload", "status", "--data-dir", folder, "--json").stdout)
    assert {table["table"]: table["rows"] for table in tables}["silver_trades"] == 52
    proof = json.loads(medallion("lineage", "verify", "--data-dir", folder, "--json").stdout)
    assert (proof["holds"], sum(count["raw"] for count in proof["counts"])) == (True, 52)
    medallion("down", "--data-dir", folder)


def test_passwords_reach_every_command(shared_stack: Path, medallion: Medallion) -> None:
    stack = shared_stack
    shown = orjson.loads(medallion("status", "--data-dir", stack, "--show-password", "--json").stdout)
    passwords = shown["passwords"]
    assert passwords["default"] == (stack / "clickhouse.password").read_text().strip()
    silent = medallion("status", "--data-dir", stack).stdout + medallion("status", "--data-dir", stack, "--json").stdout
    for password in passwords.values():
        assert password not in silent
        for file in (*(stack / "logs").iterdir(), stack / "stack.json"):
            assert password not in file.read_text(errors="replace"), file
        for process in psutil.process_iter():
            try:
                assert password not in " ".join(process.cmdline())
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
    url = shown["endpoints"]["clickhouse_http"]

    def ask(sql: str, *account: str) -> int:
        return requests.post(url, data=sql, auth=account or None, timeout=30).status_code

    assert ask("SELECT 1") == 403
    assert ask("SELECT count() FROM medallion.gold_ohlcv_1m", "analyst", passwords["analyst"]) == 200
    assert ask("SELECT count() FROM medallion.dlq_trades", "analyst", passwords["analyst"]) == 200
    assert ask("SELECT count() FROM medallion.bronze_trades", "analyst", passwords["analyst"]) == 403
    assert medallion("query", "SELECT 1", "--data-dir", stack).stdout == "1\n"
    assert (
        ask(f"SELECT * FROM file('{stack}/clickhouse.password', 'LineAsString')", "default", passwords["default"])
        == 403
    )


# Of the fast tier: tests/chaos, which kills the node.
@pytest.mark.nightly
def test_a_silent_node_is_started_again(shared_stack: Path, medallion: Medallion) -> None:
    stack = shared_stack
    shown = orjson.loads(medallion("status", "--data-dir", stack, "--json").stdout)
    (node,) = (service for service in shown["services"] if service["name"] == "clickhouse")
    os.kill(node["pid"], signal.SIGSTOP)
    frozen = medallion("status", "--data-dir", stack, "--json", check=False)
    told = orjson.loads(frozen.stdout)
    assert (frozen.returncode, told["state"], told["detail"]) == (1, "degraded", "clickhouse does not answer")
    assert [one["state"] for one in told["services"] if one["name"] == "clickhouse"] == ["unready"]

    wait_until(lambda: not psutil.pid_exists(node["pid"]), "the silent node is ended", 90)
    back(stack, "clickhouse", node["pid"])
    assert "no longer answers" in (stack / "logs" / "supervisor.log").read_text()
    assert medallion("query", "SELECT 2", "--data-dir", stack).stdout == "2\n"


def test_down_leaves_no_process_and_loses_no_row(shared_stack: Path, medallion: Medallion, recordings: Path) -> None:
    """What a back-fill has done is remembered in the folder, and goes with it."""
    folder = shared_stack
    dumps = recordings.parent / "cases" / "dump-zip-folder-entry"
    backfill = ("backfill", "--exchange", "binance", "--symbols", "BTCUSDT,ETHUSDT", "--from", "2025-01-01",
                "--to", "2025-01-02", "--source", dumps, "--json", "--data-dir", folder)  # fmt: skip
    before = pids(folder)
    assert set(before) == {"supervisor", "broker", "clickhouse", "silver-0", "schedules"}
    medallion("replay", recordings / "kraken_v2_btcusd.jsonl", "--exchange", "kraken", "--data-dir", folder)
    first = json.loads(medallion(*backfill).stdout)
    assert (first["published"], first["skipped"]) == (20, 0)
    medallion("down", "--data-dir", folder)
    assert [name for name, pid in before.items() if alive(pid)] == []

    medallion("up", "--data-dir", folder, "--detach")
    again = json.loads(medallion(*backfill).stdout)
    assert (again["published"], again["skipped"]) == (0, 2)
    assert (folder / "backfill.jsonl").exists()
    count = "SELECT countIf(exchange = 'binance') FROM silver_trades"
    assert medallion("query", count, "--data-dir", folder).stdout.split() == ["20"]
    count = "SELECT count(), uniqExact(trade_id) FROM silver_trades WHERE exchange = 'kraken'"
    assert medallion("query", count, "--data-dir", folder).stdout.split() == ["52", "52"]
    # The broker's offsets began at 0 again: nothing of the second run may be mistaken for the first.
    medallion(
        "replay", recordings / "kraken_v2_btcusdt_synthetic.jsonl.gz", "--exchange", "kraken", "--data-dir", folder
    )
    medallion("drain", "--data-dir", folder)
    assert medallion("query", count, "--data-dir", folder).stdout.split() == ["452", "452"]


# Of the fast tier: test_a_terminal_that_is_closed_while_a_stack_starts_ends_it.
@pytest.mark.nightly
@pytest.mark.parametrize("is_suspended", [False, True])
def test_down_ends_an_up_in_the_foreground(
    applied: Path, tmp_path: Path, medallion: Medallion, state_home: Path, is_suspended: bool
) -> None:
    """Neither command waits for a process that has ended, nor `down` for an `up` that Ctrl-Z has suspended."""
    folder = shutil.copytree(applied, tmp_path / "stack", symlinks=True)
    shown = started_in_foreground(folder, state_home)
    if is_suspended:
        shown.send_signal(signal.SIGSTOP)
    down = medallion("down", "--data-dir", folder, timeout=50)
    shown.send_signal(signal.SIGCONT)
    assert "Stopped the stack" in down.stderr
    _, said = shown.communicate(timeout=10)
    assert (shown.returncode, "was stopped" in said) == (0, True)


def test_ctrl_c_waits_for_messages_in_flight_and_says_what_was_lost(
    applied: Path, tmp_path: Path, medallion: Medallion, state_home: Path, recordings: Path
) -> None:
    """Of an `up` in the foreground, as of `down`: the in-memory broker forgets them. Here Silver stands still."""
    folder = shutil.copytree(applied, tmp_path / "stack", symlinks=True)
    shown = started_in_foreground(folder, state_home)
    silver = pids(folder)["silver-0"]
    os.kill(silver, signal.SIGSTOP)
    medallion("replay", recordings / "kraken_v2_btcusd.jsonl", "--exchange", "kraken", "--data-dir", folder)
    shown.send_signal(signal.SIGINT)
    wait_until(lambda: stack_state(folder) == "stopping", "the wait for messages is over", 30)
    os.kill(silver, signal.SIGCONT)
    _, said = shown.communicate(timeout=50)
    assert shown.returncode == 1
    assert "messages had not reached their end; the in-memory broker has forgotten them" in " ".join(said.split())


def test_a_stack_that_begins_to_start_is_seen_by_a_second_up_and_by_down(
    applied: Path, tmp_path: Path, medallion: Medallion, state_home: Path
) -> None:
    """Its supervisor loads its modules, and has written no state yet."""
    folder = shutil.copytree(applied, tmp_path / "stack", symlinks=True)
    starting = in_foreground(folder, state_home)
    wait_until(lambda: DataDir(folder).locked(), "the supervisor has the folder")
    second = medallion("up", "--data-dir", folder, "--detach", check=False)
    assert (second.returncode, "already running" in second.stderr) == (1, True)
    assert "Stopped the stack" in medallion("down", "--data-dir", folder).stderr
    assert not DataDir(folder).locked()
    _, said = starting.communicate(timeout=50)
    assert (starting.returncode, "was stopped while it was starting" in said) == (1, True)


def test_a_supervisor_that_is_stopped_before_it_takes_signals_is_no_fault(tmp_path: Path) -> None:
    """As in the test before, whenever the signal comes: while it loads its modules, the signal itself ends it."""
    folder = DataDir(tmp_path / "stack")
    folder.create()
    loading = subprocess.Popen([sys.executable, "-c", WAIT])
    loading.terminate()
    loading.wait()
    with pytest.raises(StackError, match="was stopped while it was starting"):
        control._wait_healthy(folder, loading, lambda _: None)


def test_a_terminal_that_is_closed_while_a_stack_starts_ends_it(
    applied: Path, tmp_path: Path, state_home: Path
) -> None:
    """The terminal is gone when the command cleans up, and nothing that it prints there stops the cleaning up."""
    folder = shutil.copytree(applied, tmp_path / "stack", symlinks=True)
    ours, its = pty.openpty()
    starting = subprocess.Popen(
        # A login opens the terminal as the controlling one of its session.
        ["setsid", "--ctty", sys.executable, "-m", "cli", "up", "--data-dir", folder],
        env=clean_environment(state_home),
        stdin=its,
        stdout=its,
        stderr=its,
    )
    os.close(its)
    wait_until(lambda: DataDir(folder).locked(), "the supervisor has the folder")
    os.close(ours)
    assert starting.wait(50) == 128 + signal.SIGHUP
    assert not DataDir(folder).locked()


def test_a_taken_port_is_named(tmp_path: Path, medallion: Medallion) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        failed = medallion("up", "--data-dir", tmp_path / "s", "--http-port", str(port), "--detach", check=False)
    assert failed.returncode == 1
    assert f"Port {port}" in failed.stderr
    assert f"(pid {os.getpid()}) listens on it" in failed.stderr
    assert "choose another one with --http-port (0: any free one)" in failed.stderr


def test_the_port_of_another_stack_names_that_stack(shared_stack: Path, tmp_path: Path, medallion: Medallion) -> None:
    port = json.loads(medallion("status", "--data-dir", shared_stack, "--json").stdout)["clickhouse"]["native_port"]
    more = ("--native-port", str(port), "--detach")
    failed = medallion("up", "--data-dir", tmp_path / "s", *more, check=False)
    assert failed.returncode == 1
    assert f"is taken by the stack on {shared_stack}" in failed.stderr
    assert "medallion down --data-dir" in failed.stderr


def test_up_asks_for_the_ports_of_a_clickhouse_server() -> None:
    defaults = inspect.signature(up).parameters
    assert (defaults["native_port"].default, defaults["http_port"].default) == (9000, 8123)


def test_status_prints_what_a_client_asks_for(shared_stack: Path, medallion: Medallion) -> None:
    """The texts to paste work as they are. SHOW TABLES lists what a day takes; the rest answers by name."""
    where = ("--data-dir", shared_stack)
    plain = medallion("status", *where).stdout
    shown = json.loads(medallion("status", *where, "--show-password", "--json").stdout)
    found, password = shown["clickhouse"], shown["passwords"]["analyst"]
    assert password not in plain
    for text in (str(found["http_port"]), "jdbc:clickhouse:http://127.0.0.1", "clickhousedb://analyst@127.0.0.1"):
        assert text in plain
    hot = sorted(set(analyst_tables()) - set(load_layers().union_views))
    client = Client.from_url(found["native"])
    assert [row[0] for row in client.execute("SHOW TABLES")] == sorted(listed_tables())
    readable = "SELECT DISTINCT table FROM system.columns WHERE database = currentDatabase() ORDER BY table"
    assert [row[0] for row in client.execute(readable)] == hot
    for name in hot:
        assert client.execute(f"SELECT * FROM {name} LIMIT 0") == []
        assert client.execute(f"EXISTS {name}") == [(1,)]
    client.disconnect()
    assert found["jdbc"].endswith(f"/medallion?user=analyst&password={quote(password, safe='')}")
    with sqlalchemy.create_engine(found["sqlalchemy"]).connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT count() FROM latest_prices")).scalar() is not None


def test_an_unwritable_folder_is_named(tmp_path: Path, medallion: Medallion) -> None:
    (tmp_path / "file").write_text("not a folder")
    failed = medallion("up", "--data-dir", tmp_path / "file" / "s", "--detach", check=False)
    assert failed.returncode == 1
    assert "Cannot write to the data folder" in failed.stderr


def test_commands_without_a_stack_say_how_to_start_one(tmp_path: Path, medallion: Medallion) -> None:
    failed = medallion("query", "SELECT 1", "--data-dir", tmp_path / "none", check=False)
    assert failed.returncode == 1
    assert "medallion up" in failed.stderr


# It ends the shared stack, so it is the last one.
def test_a_killed_supervisor_takes_its_processes_with_it(shared_stack: Path, medallion: Medallion) -> None:
    """Nothing of what it left keeps `up` from starting: a port that is taken is the first thing to be refused."""
    kill_supervisor(shared_stack)
    assert medallion("status", "--data-dir", shared_stack, check=False).returncode == 1
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        failed = medallion("up", "--data-dir", shared_stack, "--http-port", port, "--detach", check=False)
    assert f"Port {port}" in failed.stderr


# Its sibling before it has all but the start; the storms start every process but the supervisor again.
@pytest.mark.nightly
def test_a_stack_whose_supervisor_was_killed_starts_again(stack: Path, medallion: Medallion) -> None:
    kill_supervisor(stack)
    medallion("up", "--data-dir", stack, "--detach")
    assert medallion("query", "SELECT 1", "--data-dir", stack).stdout == "1\n"


def kill_supervisor(stack: Path) -> None:
    """Returns when every process of the stack is gone."""
    before = pids(stack)
    os.kill(before["supervisor"], signal.SIGKILL)

    @eventually
    def gone() -> None:
        assert [name for name, pid in before.items() if alive(pid)] == []

    gone()
