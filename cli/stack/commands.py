"""`medallion up` and `down`, and how the state of a stack is printed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import psutil
import typer

from cli.common.arguments import YEAR_S
from cli.common.context import DataDirOption, JsonOption, err, out, print_json, print_table
from cli.common.lag import LagError, wait
from cli.common.work import explained
from config.settings import Settings
from deploy.embedded import control
from deploy.embedded.layout import BrokerKind, StackState
from deploy.embedded.services import SERVING

DEFAULT_DATA_DIR = Path(".medallion")
# The default ports of a ClickHouse server and of its clients.
DEFAULT_NATIVE_PORT, DEFAULT_HTTP_PORT = 9000, 8123
NativePortOption = Annotated[
    int,
    typer.Option(help="ClickHouse native TCP port; 0: any free one.", envvar="MEDALLION_NATIVE_PORT", min=0, max=65535),
]
HttpPortOption = Annotated[
    int, typer.Option(help="ClickHouse HTTP port; 0: any free one.", envvar="MEDALLION_HTTP_PORT", min=0, max=65535)
]
MB = 1_000_000
# Whoever presses Ctrl-C waits less patiently than `down` does.
FOREGROUND_DRAIN_S = 10.0


def up(
    data_dir: DataDirOption = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return when the stack is healthy and leave it running.")
    ] = False,
    native_port: NativePortOption = DEFAULT_NATIVE_PORT,
    http_port: HttpPortOption = DEFAULT_HTTP_PORT,
    workers: Annotated[int, typer.Option(help="Silver workers.", min=1, max=16)] = 1,
    broker: Annotated[
        BrokerKind,
        typer.Option(
            help="memory: in-memory, forgets its messages when it stops. kafka: Apache Kafka (Java 17, Maven).",
        ),
    ] = "memory",
    offload: Annotated[
        bool,
        typer.Option("--offload", help="Also run the hourly offload (about 300 MB). By hand: `medallion offload run`."),
    ] = False,
    serve: Annotated[
        bool,
        typer.Option("--serve", help="Also serve the page and its interfaces (about 70 MB), as `medallion serve`."),
    ] = False,
    schedules: Annotated[
        bool,
        typer.Option(
            envvar="MEDALLION_SCHEDULES",
            help="Run the schedules (about 140 MB). The shipped file checks candles every hour: `medallion schedule`.",
        ),
    ] = True,
    kafka_home: Annotated[
        Path | None,
        typer.Option(envvar="KAFKA_HOME", help="Folder of an unpacked Apache Kafka 4, instead of fetching it."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Start the embedded stack: broker, ClickHouse, Silver, schedules. All of it runs on 127.0.0.1, from this Python
    environment.
    """
    folder = data_dir or DEFAULT_DATA_DIR
    with explained(lambda: _after_stop(folder)):
        with err.status("Starting the stack …") as spinner:

            def watch(state: StackState) -> None:
                services = ", ".join(f"{service.name}: {service.state}" for service in state.services)
                spinner.update(f"Starting {services}")

            state = control.start(
                folder,
                native_port,
                http_port,
                workers,
                watch,
                broker=broker,
                kafka_home=kafka_home,
                offload=offload,
                serve=serve,
                schedules=schedules,
            )
        if detach:
            _show(state, as_json=as_json)
        else:
            _hold(folder, state, as_json=as_json)


def _hold(folder: Path, state: StackState, *, as_json: bool) -> None:
    """Show the stack and stay until a signal comes, then stop the stack."""
    try:
        _show(state, as_json=as_json)
        err.print("Press Ctrl-C to stop it: messages in flight reach their end first, a second Ctrl-C leaves them.")
        # It is a child of this process, and counts as running until this process has waited for it.
        ended = _exit_code(state.supervisor_pid)
    except KeyboardInterrupt:
        try:
            _stop(folder, FOREGROUND_DRAIN_S)
        except KeyboardInterrupt:
            control.stop(folder)
            err.print(f"Stopped the stack on {folder} at once. If messages were in flight, {_fate(state)}", style="red")
            raise typer.Exit(_loses(state)) from None
        return
    except BaseException:  # as where nobody reads what it prints
        control.stop(folder)
        raise
    if ended != 0:
        err.print(f"The supervisor ended; see {folder / 'logs' / 'supervisor.log'}.")
        raise typer.Exit(1)
    err.print(f"The stack on {folder} was stopped.")


def _after_stop(folder: Path) -> str:
    """What a signal has left of the stack."""
    if control.is_running(folder):
        return f"The stack on {folder} may still run: `medallion status` says, `medallion down` stops it."
    return f"The stack on {folder} is stopped; its folder stays as it is. `medallion up` starts it."


def _show(state: StackState, *, as_json: bool) -> None:
    if as_json:
        print_json(state)
        return
    print_state(state)
    if state.broker == "memory":
        out.print(
            "The in-memory broker keeps about 5 MB a partition and forgets all messages when it stops: it is for "
            "demos and tests. The data of ClickHouse and the warehouse stay."
        )


def _exit_code(pid: int) -> int | None:
    """Wait for a child process. None: it ended before, and nobody knows how."""
    try:
        return psutil.Process(pid).wait()
    except psutil.NoSuchProcess:
        return None


def down(
    data_dir: DataDirOption = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds to let messages in flight reach their end first.", min=0, max=YEAR_S)
    ] = 30.0,
) -> None:
    """Stop the embedded stack: let messages in flight reach their end, then end every process."""
    folder = data_dir or _only_running() or DEFAULT_DATA_DIR
    with explained(lambda: f"The stack on {folder} may still run: `medallion status` says, `medallion down` stops it."):
        _stop(folder, timeout)


def _stop(folder: Path, timeout: float) -> None:
    """Let messages in flight reach their end for at most `timeout` seconds, stop the stack, and say what was lost.

    Raises:
        typer.Exit: some have not reached their end; with exit code 1 if the broker has forgotten them.
    """
    state = control.running_on(folder)
    behind = 0
    if state is not None and state.state == "healthy" and timeout > 0:
        with err.status("Letting messages in flight reach their end …"):
            behind = _drain(state, timeout)
    with err.status("Stopping the stack …"):
        stopped = control.stop(folder)
    if behind:
        err.print(f"{behind:,} messages had not reached their end; {_fate(state)}", style="red")
        raise typer.Exit(_loses(state))
    err.print(f"Stopped the stack on {folder}." if stopped else f"No stack was running on {folder}.")


def _loses(state: StackState | None) -> bool:
    """Whether the stack's broker forgets messages when it stops."""
    return state is None or state.broker == "memory"


def _fate(state: StackState | None) -> str:
    return "the in-memory broker has forgotten them." if _loses(state) else "Kafka keeps them for the next start."


def _drain(state: StackState, timeout: float) -> int:
    try:
        lags = wait(Settings.from_environment(state.environment), timeout, lambda _: None)
    except LagError as error:
        err.print(f"Cannot find out which messages are in flight: {error}")
        return 0
    return sum(lag.messages for lag in lags)


def _only_running() -> Path | None:
    states = control.running()
    return states[0].data_dir if len(states) == 1 else None


def endpoints(settings: Settings, state: StackState | None = None) -> dict[str, str]:
    """The addresses of a stack's services, by service; of the page if `state` has it."""
    is_served = state is not None and any(service.name == SERVING for service in state.services)
    page = {"page": f"http://{settings.serving_host}:{settings.serving_port}/"} if is_served else {}
    return {
        **page,
        "kafka": settings.kafka_bootstrap_servers,
        "clickhouse_native": f"{settings.clickhouse_host}:{settings.clickhouse_port}",
        "clickhouse_http": f"http://{settings.clickhouse_host}:{settings.clickhouse_http_port}",
        "iceberg_catalog": settings.iceberg_catalog_uri,
        "iceberg_warehouse": settings.iceberg_warehouse,
    }


def print_state(state: StackState) -> None:
    """Print the processes of a stack and its endpoints."""
    print_table(
        f"Stack on {state.data_dir}: {state.state} {state.detail}".rstrip(),
        ("process", "state", "pid", "restarts", "memory MB", "detail"),
        [(s.name, s.state, str(s.pid or ""), s.restarts, _memory_mb(s.pid), s.detail) for s in state.services],
    )
    print_table(
        "Endpoints", ("service", "address"), endpoints(Settings.from_environment(state.environment), state).items()
    )


def _memory_mb(pid: int | None) -> int:
    if pid is None:
        return 0
    try:
        return round(psutil.Process(pid).memory_info().rss / MB)
    except psutil.NoSuchProcess:
        return 0
