"""Starts, finds and stops embedded stacks, for `medallion up`, `down` and `status`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import psutil
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from config.places import state_folder
from config.settings import Settings
from config.whole_file import write_whole
from deploy.embedded.kafka import jars, server
from deploy.embedded.kafka.jars import Kafka
from deploy.embedded.layout import LOCK_FILE, BrokerKind, DataDir, StackError, StackState, data_dir_option
from deploy.embedded.ports import LOOPBACK, free_ports, is_free
from deploy.embedded.services import SERVING, Ports

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0
POLL_S = 0.05
_SUPERVISOR = "deploy.embedded.supervisor"
_DATA_DIR_OPTION = "--data-dir"
# clickhouse-driver makes tables of 400 years of dates at its import, 22 MB, unless this (its own spelling) is set.
_NO_DATE_TABLES = {"CLICKHOUSE_DRIVER_LASY_DATE_LUT": "1"}


def running_stacks_file() -> Path:
    """The file that lists the folders of stacks. `up` writes it, so that later commands need no `--data-dir`."""
    return state_folder() / "stacks"


def start(
    data_dir: Path,
    native_port: int,
    http_port: int,
    workers: int,
    watch: Callable[[StackState], None],
    *,
    broker: BrokerKind = "memory",
    kafka_home: Path | None = None,
    offload: bool = False,
    serve: bool = False,
    schedules: bool = False,
) -> StackState:
    """Start a stack in the background and return when all its processes are healthy.

    A port of 0 means any free port. `watch` is called with each new state during the start. `kafka_home`: an unpacked
    Apache Kafka 4 for the broker "kafka"; default: `KAFKA_HOME`, then the pinned jars, which Maven fetches once.
    `offload`: run the hourly offload as well. `serve`: serve the page as well, at `MEDALLION_SERVING_PORT`, or at a
    free port if that one is taken. `schedules`: run `medallion schedule serve` as well.

    Raises:
        StackError: the folder cannot be written or is in use, a port is taken, Java or Kafka is missing, or a process
            does not start.
    """
    os.umask(0o077)
    directory = DataDir(data_dir.absolute())
    directory.create()
    _wait_while_stopping(directory)
    if directory.locked():
        with directory.lock():  # raises the error that says how to reach the running stack
            pass
    if native_port and native_port == http_port:
        raise StackError(
            f"Port {native_port} cannot be both of ClickHouse's ports: give each its own, or 0 for any free port."
        )
    _remove_survivors(directory)
    _check_port(native_port, "--native-port")
    _check_port(http_port, "--http-port")
    ports = _choose(native_port, http_port, workers, offload=offload, serve=serve, schedules=schedules)
    kafka = None
    if broker == "kafka":
        kafka = jars.find(kafka_home)
        server.prepare(directory.kafka, kafka, Settings().kafka_max_message_bytes)
    is_mine = False
    try:
        # The supervisor inherits the lock: there is no time at which a second `up`, or a `down`, sees no stack.
        with directory.lock() as lock:
            is_mine = True
            directory.stack_file.unlink(missing_ok=True)
            supervisor = _spawn_supervisor(directory, ports, kafka, lock)
        _remember(directory.path)  # now, so that `down` finds it where this process is killed
        return _wait_healthy(directory, supervisor, watch)
    except BaseException:
        # A signal may come before this process knows the supervisor's pid. `stop` finds it.
        if is_mine:
            stop(directory.path)
        raise


def stop(data_dir: Path) -> bool:
    """Stop the stack on `data_dir`, so that none of its processes is left. Returns False if none was running.

    Raises:
        StackError: a process does not end.
    """
    directory = DataDir(data_dir.absolute())
    was_running = directory.path.is_dir() and directory.locked()
    if was_running and (process := _supervisor(directory)) is not None:
        process.terminate()
        try:
            _until(lambda: _has_ended(process))
        except RetryError as error:
            raise _not_stopped(process.pid, directory) from error
    survivors = _remove_survivors(directory)
    return was_running or survivors > 0


def _wait_while_stopping(directory: DataDir) -> None:
    """Wait until a stack that is being stopped is gone.

    Raises:
        StackError: it does not end.
    """
    state = directory.read() if directory.locked() else None
    if state is not None and state.state in {"stopping", "stopped"}:
        try:
            _until(lambda: not directory.locked())
        except RetryError as error:
            raise _not_stopped(state.supervisor_pid, directory) from error


def _supervisor(directory: DataDir) -> psutil.Process | None:
    """The supervisor that has the folder; None if it has just ended. `up` locks the folder before it starts one.

    It is found by its command line, which is there before its first state, and also when its state file is not.

    Raises:
        StackError: somebody else holds the lock.
    """

    def look() -> psutil.Process | None:
        running = psutil.process_iter(["cmdline"])
        return next((one for one in running if _supervises(one.info["cmdline"] or [], directory.path)), None)

    try:
        _until(lambda: look() is not None or not directory.locked())
    except RetryError as error:
        raise StackError(
            f"{directory.path} is locked, but no supervisor of yours runs on it: `fuser {directory.path / LOCK_FILE}` "
            "names the process that holds it; end that one."
        ) from error
    return look()


def _supervises(command: Sequence[str], folder: Path) -> bool:
    """Whether this is the command line of a supervisor on this folder."""
    named = (value for option, value in pairwise(command) if option == _DATA_DIR_OPTION)
    return _SUPERVISOR in command and any(os.path.realpath(path) == os.path.realpath(folder) for path in named)


def _until(condition: Callable[[], bool]) -> None:
    """Wait for a condition.

    Raises:
        RetryError: it does not hold within STOP_TIMEOUT_S.
    """
    retrying = Retrying(
        retry=retry_if_result(lambda holds: not holds), stop=stop_after_delay(STOP_TIMEOUT_S), wait=wait_fixed(POLL_S)
    )
    retrying(condition)


def _not_stopped(pid: int, directory: DataDir) -> StackError:
    return StackError(
        f"The supervisor (pid {pid}) did not stop within {STOP_TIMEOUT_S:.0f} s; see {directory.logs}, then kill it."
    )


def _has_ended(process: psutil.Process) -> bool:
    """Whether it runs no more, even if its parent, a suspended `medallion up`, has not noticed yet."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def find(data_dir: Path | None) -> StackState:
    """The running stack on `data_dir`, or the only running stack if `data_dir` is None.

    Raises:
        StackError: no stack runs there, or it has just begun to start, or several run and none was named.
    """
    state = _find(data_dir)
    if not state.environment:
        # Without it the settings would be those of any servers at the default ports of this machine.
        raise _just_begun(state.data_dir)
    return state


def _just_begun(folder: Path) -> StackError:
    return StackError(
        f"The stack on {folder} has just begun to start: run the command again in some seconds. If it says so again, "
        f"its state file is lost: `medallion down {data_dir_option(folder)}` stops it all the same."
    )


def _find(data_dir: Path | None) -> StackState:
    if data_dir is not None:
        state = running_on(data_dir)
        if state is None and data_dir.is_dir() and DataDir(data_dir.absolute()).locked():
            raise _just_begun(data_dir)
        if state is None:
            raise StackError(
                f"No stack is running on {data_dir}. Start it with `medallion up {data_dir_option(data_dir)} --detach`."
            )
        return state
    states = running()
    if not states:
        raise StackError(
            "No stack is running. Start one with `medallion up --detach`, or set the MEDALLION_… endpoints."
        )
    if len(states) > 1:
        folders = ", ".join(str(state.data_dir) for state in states)
        raise StackError(f"Several stacks are running ({folders}): choose one with --data-dir.")
    return states[0]


def running() -> list[StackState]:
    """Every embedded stack of this user that runs now."""
    return [state for folder in _remembered() if (state := running_on(folder)) is not None]


def is_running(data_dir: Path) -> bool:
    """Whether a stack runs on this folder."""
    return running_on(data_dir) is not None


def running_on(folder: Path) -> StackState | None:
    """The stack that runs on this folder, or starts there; None if there is none, or it has no state yet."""
    directory = DataDir(folder.absolute())
    return directory.read() if directory.path.is_dir() and directory.locked() else None


def _remembered() -> list[Path]:
    try:
        lines = running_stacks_file().read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [Path(line) for line in dict.fromkeys(lines) if line]


def _remember(folder: Path) -> None:
    """Add the folder to the list of stacks if possible. Without the entry, later commands need `--data-dir`."""
    kept = [path for path in _remembered() if path != folder and path.exists()]
    with contextlib.suppress(OSError):
        file = running_stacks_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, "".join(f"{path}\n" for path in [*kept, folder]).encode())


def _check_port(port: int, option: str) -> None:
    if is_free(port):
        return
    for state in running():
        settings = Settings.from_environment(state.environment)
        if port in {settings.clickhouse_port, settings.clickhouse_http_port}:
            raise StackError(
                f"Port {port} on {LOOPBACK} is taken by the stack on {state.data_dir}: choose another one with "
                f"{option} (0: any free one), or stop that stack with"
                f" `medallion down {data_dir_option(state.data_dir)}`."
            )
    raise StackError(
        f"Port {port} on {LOOPBACK} cannot be used{_holder(port)}: choose another one with {option} (0: any free one)."
    )


def _holder(port: int) -> str:
    """Which process listens on a port, for an error message; "" if this user may not see it."""
    with contextlib.suppress(psutil.Error):
        for found in psutil.net_connections("tcp"):
            if found.status == psutil.CONN_LISTEN and found.laddr and found.laddr.port == port and found.pid:
                return f", since {psutil.Process(found.pid).name()} (pid {found.pid}) listens on it"
    return ""


def _choose(native_port: int, http_port: int, workers: int, *, offload: bool, serve: bool, schedules: bool) -> Ports:
    """The ports, with a free one in place of each 0."""
    native, http, service, page, scheduled, *metrics = free_ports(5 + workers)
    wanted = Settings().serving_port
    if wanted and wanted not in {native_port, http_port} and is_free(wanted):
        page = wanted
    return Ports(
        native_port or native,
        http_port or http,
        tuple(metrics),
        service if offload else 0,
        page if serve else 0,
        scheduled if schedules else 0,
    )


def _spawn_supervisor(directory: DataDir, ports: Ports, kafka: Kafka | None, lock: int) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", _SUPERVISOR, _DATA_DIR_OPTION, str(directory.path)]
    argv += ["--native-port", str(ports.clickhouse_native), "--http-port", str(ports.clickhouse_http)]
    for port in ports.metrics:
        argv += ["--metrics-port", str(port)]
    if ports.offload:
        argv += ["--offload-port", str(ports.offload)]
    if ports.serving:
        argv += ["--serving-port", str(ports.serving)]
    if ports.schedules:
        argv += ["--schedules-port", str(ports.schedules)]
    if kafka is not None:
        argv += ["--kafka-java", str(kafka.java), "--kafka-libs", str(kafka.libs)]
    with (directory.logs / "supervisor.log").open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - our own module
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=(lock,),
            env={**os.environ, **_NO_DATE_TABLES},
        )


def _wait_healthy(
    directory: DataDir, supervisor: subprocess.Popen[bytes], watch: Callable[[StackState], None]
) -> StackState:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        state = directory.read()
        if state is not None:
            watch(state)
            if state.state == "healthy":
                return state
            if state.state == "failed":
                raise StackError(state.detail)
        # The signal ends a supervisor that still loads its modules, and has started nothing.
        if supervisor.poll() in {0, -signal.SIGTERM}:
            raise StackError(f"The stack on {directory.path} was stopped while it was starting.")
        if supervisor.returncode is not None:
            raise StackError(
                f"The supervisor ended with exit code {supervisor.returncode}; see {directory.logs / 'supervisor.log'}."
            )
        if time.monotonic() > deadline:
            raise StackError(f"The stack was not healthy within {START_TIMEOUT_S:.0f} s; see {directory.logs}.")
        time.sleep(POLL_S)


def _own_process(pid: int, marker: str) -> psutil.Process | None:
    """The process with this pid, if its command line has `marker`: the system may have given the pid to another one."""
    try:
        process = psutil.Process(pid)
        return process if marker in " ".join(process.cmdline()) else None
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None


def _remove_survivors(directory: DataDir) -> int:
    """Kill the processes of an earlier stack on this folder that outlived its supervisor."""
    state = directory.read() if directory.path.is_dir() else None
    if state is None or directory.locked():
        return 0
    broker = str(directory.kafka) if state.broker == "kafka" else "deploy.embedded.broker"
    markers = {
        "broker": broker,
        "clickhouse": "deploy.embedded.clickhouse",
        "offload": "offload serve",
        "schedules": "schedule serve",
        SERVING: "cli serve",
    }
    found = [
        process
        for service in state.services
        if service.pid is not None
        and (process := _own_process(service.pid, markers.get(service.name, "silver_processor"))) is not None
    ]
    for process in found:
        process.terminate()
    _, alive = psutil.wait_procs(found, timeout=STOP_TIMEOUT_S)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=STOP_TIMEOUT_S)
    return len(found)
