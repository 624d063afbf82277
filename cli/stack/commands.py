"""`medallion up`, `down` and `status`: start, stop and show the embedded stack."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import psutil
import typer

from cli.common import disks
from cli.common.context import DataDirOption, JsonOption, deployed, err, out, print_json, print_table
from cli.common.lag import Lag, LagError, LagMeter, wait
from cli.common.schedules import last_runs, print_runs
from cli.common.state_folder import find_state_folder
from cli.common.work import explained
from cli.common.workers import print_workers, worker_rules
from cli.stack import alerts, connecting, producing
from cli.stack.answering import seen_now
from config.connections import clickhouse_native
from config.disks import FULL
from config.settings import Settings
from deploy.embedded import control
from deploy.embedded.layout import BrokerKind, DataDir, StackError, StackState
from deploy.embedded.services import SERVING
from producers.status import ProducerState, running
from series.schedules.state import ScheduleStates

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
    stopped = "The stack was starting and is stopped again; its folder stays as it is. `medallion up` starts it."
    with explained(lambda: stopped), err.status("Starting the stack …") as spinner:

        def watch(state: StackState) -> None:
            spinner.update("Starting " + ", ".join(f"{service.name}: {service.state}" for service in state.services))

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
    if as_json:
        print_json(state)
    else:
        _print_state(state)
        if state.broker == "memory":
            out.print(
                "The in-memory broker keeps about 5 MB a partition and forgets all messages when it stops: it is for "
                "demos and tests. The data of ClickHouse and the warehouse stay."
            )
    if not detach:
        _hold(folder, state)


def _hold(folder: Path, state: StackState) -> None:
    """Stay in the foreground until Ctrl-C or SIGTERM, then stop the stack."""
    err.print("Press Ctrl-C to stop it.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while psutil.pid_exists(state.supervisor_pid):
            time.sleep(0.5)
        err.print(f"The supervisor ended; see {folder / 'logs' / 'supervisor.log'}.")
        raise typer.Exit(1)
    except KeyboardInterrupt:
        control.stop(folder)


def down(
    data_dir: DataDirOption = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds to let messages in flight reach their end first.", min=0)
    ] = 30.0,
) -> None:
    """Stop the embedded stack: let messages in flight reach their end, then end every process."""
    folder = data_dir or _only_running() or DEFAULT_DATA_DIR
    state = control.find(folder) if control.is_running(folder) else None
    behind = 0
    with explained(lambda: f"The stack on {folder} may still run: `medallion status` says, `medallion down` stops it."):
        if state is not None and state.state == "healthy" and timeout > 0:
            with err.status("Letting messages in flight reach their end …"):
                behind = _drain(state, timeout)
        stopped = control.stop(folder)
    if behind:
        kept = state is not None and state.broker == "kafka"
        fate = "Kafka keeps them for the next start." if kept else "the in-memory broker has forgotten them."
        err.print(f"{behind:,} messages had not reached their end; {fate}", style="red")
        raise typer.Exit(0 if kept else 1)
    err.print(f"Stopped the stack on {folder}." if stopped else f"No stack was running on {folder}.")


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


def status(
    data_dir: DataDirOption = None,
    producer: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Show only these producers (http://<host>:<metrics port>), on any machine."),
    ] = None,
    show_password: Annotated[
        bool, typer.Option("--show-password", help="Also show the passwords of ClickHouse's users.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the embedded stack's processes and endpoints, how far each consumer is behind, the rules version of each
    Silver worker, the live producers, and the last run of each schedule.

    For a stack of the MEDALLION_… endpoints it shows how far each consumer is behind, the workers' rules (if
    MEDALLION_PROMETHEUS_URL is set), and a warning if alerts have no receiver.

    The exit code is 1 if a process is not healthy or a disk is full; with --producer, or if only producers run, if one
    of these has a trouble.
    """
    if producer:
        _status_of([producing.ask(url) for url in producer], as_json)
        return
    try:
        state = control.find(data_dir)
    except StackError:
        alone = running()
        if data_dir is None and alone:
            _status_of(alone, as_json)
        elif data_dir is None and deployed():
            _status_of_deployed(Settings(), as_json)
        else:
            raise
        return
    settings = Settings.from_environment(state.environment)
    measured = disks.stack_disks(state)
    troubles = disks.troubles(measured)
    workers = worker_rules(settings, data_dir)
    schedules = last_runs(ScheduleStates(state.data_dir))
    lags, why_not = _measure(settings)
    state, silent = seen_now(state)
    full = troubles.values() if any(disk.level == FULL for disk in measured) else ()
    state = _degraded(state, [*full, *filter(None, (why_not, silent))])
    if as_json:
        print_json(
            {
                **state.model_dump(mode="json", exclude={"environment"}),
                "endpoints": _endpoints(settings, state),
                "clickhouse": _connection(state, settings, show_password=show_password),
                **({"passwords": _passwords(state, settings)} if show_password else {}),
                "lag": _lag(lags),
                "workers": workers,
                "producers": producing.as_json(running()),
                "schedules": schedules,
                "disks": [asdict(disk) | {"level": disk.level} for disk in measured],
                "troubles": troubles,
            }
        )
    else:
        _print_state(state)
        disks.print_disks(measured)
        for words in troubles.values():
            out.print(words, soft_wrap=True, markup=False)
        connecting.print_connection(
            _connection(state, settings, show_password=show_password), has_password=show_password
        )
        if show_password:
            title = f"Users of ClickHouse, database {settings.clickhouse_database}"
            print_table(title, ("user", "password"), _passwords(state, settings).items())
        _print_behind(lags)
        print_workers(workers)
        producing.print_producers(running())
        print_runs(schedules)
    if state.state != "healthy":
        raise typer.Exit(1)


def _degraded(state: StackState, reasons: Sequence[str]) -> StackState:
    """The state, where it is healthy and there are reasons against it: degraded by these."""
    if state.state != "healthy" or not reasons:
        return state
    return state.model_copy(update={"state": "degraded", "detail": "; ".join(reasons)})


def _measure(settings: Settings) -> tuple[list[Lag] | None, str]:
    """How far each consumer is behind; or None, and why nobody knows: what else there is to show is shown."""
    try:
        with LagMeter(settings) as meter:
            return meter.measure(), ""
    except LagError as error:
        return None, str(error)


def _status_of_deployed(settings: Settings, as_json: bool) -> None:
    with LagMeter(settings) as meter:
        lags = meter.measure()
    warning, workers = alerts.warning(settings), worker_rules(settings, None)
    schedules = last_runs(ScheduleStates(find_state_folder(None, settings).folder))
    if as_json:
        print_json(
            {
                "endpoints": _endpoints(settings),
                "lag": _lag(lags),
                "workers": workers,
                "schedules": schedules,
                "alerts": warning or None,
            }
        )
        return
    print_table("Endpoints", ("service", "address"), _endpoints(settings).items())
    _print_behind(lags)
    print_workers(workers)
    print_runs(schedules)
    if warning:
        out.print(warning, style="bold red", soft_wrap=True, markup=False)


def _status_of(states: Sequence[ProducerState], as_json: bool) -> None:
    if as_json:
        print_json({"producers": producing.as_json(states)})
    else:
        producing.print_producers(states)
    if any(producing.troubles(state) for state in states):
        raise typer.Exit(1)


def _lag(lags: Sequence[Lag] | None) -> list[dict[str, str | int]] | None:
    """For JSON; null where nobody knows."""
    if lags is None:
        return None
    return [
        {"stage": lag.stage, "topic": lag.topic, "partition": lag.partition, "messages": lag.messages} for lag in lags
    ]


def _print_behind(lags: Sequence[Lag] | None) -> None:
    if lags is None:
        return
    print_table(
        "Behind",
        ("stage", "topic", "partition", "messages"),
        [(x.stage, x.topic, x.partition, x.messages) for x in lags if x.messages],
    )


def _endpoints(settings: Settings, state: StackState | None = None) -> dict[str, str]:
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


def _connection(state: StackState, settings: Settings, *, show_password: bool) -> dict[str, str | int]:
    password = _passwords(state, settings)[connecting.ANALYST] if show_password else ""
    return connecting.connection(settings, connecting.ANALYST, password)


def _passwords(state: StackState, settings: Settings) -> dict[str, str]:
    analyst = DataDir(state.data_dir).analyst_password_file.read_text(encoding="ascii").strip()
    return {settings.clickhouse_user: clickhouse_native(settings)["password"], connecting.ANALYST: analyst}


def _print_state(state: StackState) -> None:
    print_table(
        f"Stack on {state.data_dir}: {state.state} {state.detail}".rstrip(),
        ("process", "state", "pid", "restarts", "memory MB", "detail"),
        [(s.name, s.state, str(s.pid or ""), s.restarts, _memory_mb(s.pid), s.detail) for s in state.services],
    )
    print_table(
        "Endpoints", ("service", "address"), _endpoints(Settings.from_environment(state.environment), state).items()
    )


def _memory_mb(pid: int | None) -> int:
    if pid is None:
        return 0
    try:
        return round(psutil.Process(pid).memory_info().rss / MB)
    except psutil.NoSuchProcess:
        return 0
