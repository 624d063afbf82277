"""`medallion status`: the state of an embedded or deployed stack, and of the producers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from cli.common import disks
from cli.common.context import DataDirOption, JsonOption, ServerError, deployed, out, print_json, print_table
from cli.common.lag import Lag, LagError, LagMeter, print_past_end
from cli.common.schedules import last_runs, print_runs
from cli.common.state_folder import find_state_folder
from cli.common.statements import http_client
from cli.common.workers import print_workers, worker_rules
from cli.stack import alerts, connecting, producing
from cli.stack.answering import seen_now
from cli.stack.commands import endpoints, print_state
from config.connections import clickhouse_native
from config.process.disks import FULL
from config.settings import Settings
from deploy.embedded import control
from deploy.embedded.layout import DataDir, StackError, StackState
from producers.status import ProducerState, running
from series.schedules.state import ScheduleStates

# The exit code where all that answers is healthy, and nobody knows the alerts. (2 is a wrong command line.)
UNWATCHED = 3


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

    For a stack of the MEDALLION_… endpoints it asks broker and ClickHouse, and shows how far each consumer is behind,
    the workers' rules (if MEDALLION_PROMETHEUS_URL is set), and a warning if alerts have no receiver.

    The exit code is 1 if a process is not healthy, a disk is full, or broker or ClickHouse does not answer; with
    --producer, or if only producers run, if one of these has a trouble. It is 3, and the state `unwatched`, if all
    that answers is healthy but a Prometheus or Alertmanager that is configured does not answer: nobody knows the
    alerts then.
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
                "endpoints": endpoints(settings, state),
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
        print_state(state)
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


def _clickhouse_trouble(settings: Settings) -> str:
    """Why ClickHouse runs no statement of this user; "" if it does."""
    try:
        # The client logs in and asks for the server's version.
        with http_client(settings):
            return ""
    except ServerError as error:
        return str(error)


def _status_of_deployed(settings: Settings, as_json: bool) -> None:
    lags, why_not = _measure(settings)
    troubles = [words for words in (why_not, _clickhouse_trouble(settings)) if words]
    watch, workers = alerts.watch(settings), worker_rules(settings, None)
    state = "degraded" if troubles else "unwatched" if watch.unknown else "healthy"
    schedules = last_runs(ScheduleStates(find_state_folder(None, settings).folder))
    if as_json:
        print_json(
            {
                "state": state,
                "detail": "; ".join(filter(None, (*troubles, watch.unknown))),
                "endpoints": endpoints(settings),
                "lag": _lag(lags),
                "workers": workers,
                "schedules": schedules,
                "alerts": watch.unknown or watch.warning or None,
            }
        )
    else:
        print_table("Endpoints", ("service", "address"), endpoints(settings).items())
        _print_behind(lags)
        print_workers(workers)
        print_runs(schedules)
        for words in filter(None, (*troubles, watch.unknown, watch.warning)):
            out.print(words, style="bold red", soft_wrap=True, markup=False)
    if state != "healthy":
        raise typer.Exit(1 if troubles else UNWATCHED)


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
        {
            "stage": lag.stage,
            "topic": lag.topic,
            "partition": lag.partition,
            "messages": lag.messages,
            "past_end": lag.past_end,
        }
        for lag in lags
    ]


def _print_behind(lags: Sequence[Lag] | None) -> None:
    if lags is None:
        return
    print_table(
        "Behind",
        ("stage", "topic", "partition", "messages"),
        [(x.stage, x.topic, x.partition, x.messages) for x in lags if x.messages],
    )
    print_past_end(lags)


def _connection(state: StackState, settings: Settings, *, show_password: bool) -> dict[str, str | int]:
    password = _passwords(state, settings)[connecting.ANALYST] if show_password else ""
    return connecting.connection(settings, connecting.ANALYST, password)


def _passwords(state: StackState, settings: Settings) -> dict[str, str]:
    analyst = DataDir(state.data_dir).analyst_password_file.read_text(encoding="ascii").strip()
    return {settings.clickhouse_user: clickhouse_native(settings)["password"], connecting.ANALYST: analyst}
