"""`medallion doctor`: which checks are run, and how they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from cli.common import disks
from cli.common.context import DataDirOption, JsonOption, deployed, err, print_json, print_table
from cli.common.workers import worker_rules
from cli.stack.commands import (
    DEFAULT_DATA_DIR,
    DEFAULT_HTTP_PORT,
    DEFAULT_NATIVE_PORT,
    HttpPortOption,
    NativePortOption,
)
from cli.stack.doctor import cold, compose, host, servers
from cli.stack.doctor.clock import clock, is_synchronised, offsets
from cli.stack.doctor.finding import Finding, attempt
from config.places import nearest
from config.process.disks import measure
from config.settings import Settings
from deploy.embedded import control
from deploy.embedded.layout import DataDir, StackState


def doctor(
    data_dir: DataDirOption = None,
    compose_folder: Annotated[
        Path | None,
        typer.Option("--compose", metavar="FOLDER", help="Check for `docker compose up` in the folder of its file."),
    ] = None,
    native_port: NativePortOption = DEFAULT_NATIVE_PORT,
    http_port: HttpPortOption = DEFAULT_HTTP_PORT,
    as_json: JsonOption = False,
) -> None:
    """Check this host and the stack, before and after `up`: what is wrong, and what to do about it.

    Where no stack runs: Python, packages against the lock, cores, memory, disks, data folder, the ports that `medallion
    up` takes, clock. Where one runs: also its processes, ClickHouse, the user's grants, migrations, topics, Silver
    workers, catalog, bucket and offload. Where the MEDALLION_… endpoints name one: versions, clock, the same parts, and
    whether alerts reach somebody. With --compose, before `docker compose up`: Python, Docker, Compose, .env, cores,
    disk, clock, and memory and ports by what the services ask for. Changes nothing.

    Exit code 1 if a check fails; warnings keep it 0.
    """
    ports = {"--native-port": native_port, "--http-port": http_port}
    with err.status("Checking …"):
        findings = compose.examine(compose_folder.absolute()) if compose_folder else examine(data_dir, ports)
    if as_json:
        print_json(findings)
    else:
        rows = [(one.name, one.outcome, one.found, one.remedy) for one in findings]
        print_table("Doctor", ("check", "outcome", "found", "remedy"), rows)
    if any(one.outcome == "fail" for one in findings):
        raise typer.Exit(1)


def examine(data_dir: Path | None, clickhouse_ports: Mapping[str, int]) -> list[Finding]:
    """The findings of every check that applies, the host's first.

    `clickhouse_ports`: those that `up` is to take, by its options.

    Raises:
        StackError: several stacks run and none was named.
        pydantic.ValidationError: a setting is out of range.
    """
    if data_dir is None and deployed():
        # Of this machine only the command line is used, perhaps in a container of its own.
        settings = Settings()
        return [*_versions(embedded=False), _clock(settings), *_stack(settings, None, None), _alerts(settings)]
    state = _running(data_dir)
    if state is None:
        folder = (data_dir or DEFAULT_DATA_DIR).absolute()
        found = f"none runs on {folder}: `medallion up` starts one, and then more is checked"
        return [
            *_versions(embedded=True),
            *_before_up(folder, clickhouse_ports),
            clock({}, is_synchronised()),
            Finding("stack", "ok", f"{found}; before `docker compose up`: `medallion doctor --compose FOLDER`"),
        ]
    settings = Settings.from_environment(state.environment)
    return [
        *_versions(embedded=True),
        *_machine(running=True),
        *host.disks(disks.stack_disks(state)),
        _clock(settings),
        servers.processes(state),
        *_stack(settings, state, data_dir),
        *([_alerts(settings)] if settings.alertmanager_url else []),
    ]


def _running(data_dir: Path | None) -> StackState | None:
    if data_dir is None:
        return control.find(None) if control.running() else None
    return control.find(data_dir) if control.is_running(data_dir) else None


def _versions(*, embedded: bool) -> list[Finding]:
    return [host.python(), host.packages(embedded=embedded)]


def _machine(*, running: bool) -> list[Finding]:
    return [host.cores(host.usable_cores()), host.memory(host.available_memory(), running=running)]


def _before_up(folder: Path, clickhouse_ports: Mapping[str, int]) -> list[Finding]:
    places = {"data folder": nearest(folder), "warehouse": nearest(DataDir(folder).warehouse)}
    return [
        *_machine(running=False),
        *host.disks(measure(places)),
        attempt("data folder", "choose another one with --data-dir", lambda: host.data_folder(folder)),
        host.ports(Settings().serving_port, clickhouse_ports),
    ]


def _clock(settings: Settings) -> Finding:
    return clock(offsets(settings), is_synchronised())


def _stack(settings: Settings, state: StackState | None, data_dir: Path | None) -> list[Finding]:
    start = "start it (`medallion up`, `docker compose up -d`), or correct"
    at_clickhouse = f"{start} MEDALLION_CLICKHOUSE_HOST, its port, user and password"
    answers = attempt("clickhouse", at_clickhouse, lambda: servers.server(settings))
    hot = [answers]
    if answers.outcome != "fail":
        hot += [
            attempt("grants", at_clickhouse, lambda: servers.grants(settings)),
            attempt("migrations", "grant it SHOW and SELECT, then `medallion ddl status`",
                    lambda: servers.migrations(settings)),
            attempt("prices", "grant the user SELECT on system.*", lambda: servers.refreshes(settings)),
        ]  # fmt: skip
    return [
        *hot,
        attempt("topics", f"{start} MEDALLION_KAFKA_BOOTSTRAP_SERVERS and its login", lambda: servers.topics(settings)),
        servers.workers(worker_rules(settings, state.data_dir if state else data_dir)),
        *cold.cold(settings),
    ]


def _alerts(settings: Settings) -> Finding:
    remedy = "start the profile observability, or correct MEDALLION_ALERTMANAGER_URL"
    return attempt("alerts", remedy, lambda: cold.alerts(settings))
