"""`medallion schedule list|run|serve|pause|resume`: runs series and quality checks on their schedules."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.common.context import DataDirOption, JsonOption, counted, load_settings, out, print_json, print_table
from cli.common.schedules import last_run
from cli.common.state_folder import find_state_folder
from cli.common.work import working
from cli.messages.quality import show_check
from cli.messages.series import show_report
from config.process import logs
from config.settings import Settings
from ddl.layers import load_layers
from series.errors import IncompleteError, SeriesError
from series.schedules.check import CheckReport
from series.schedules.declaration import CheckSchedule, Schedule, load_schedules, schedule_named
from series.schedules.run import ScheduleRuns
from series.schedules.service import ScheduleService
from series.schedules.state import ScheduleStates, due_at

if TYPE_CHECKING:
    from prefect import Flow

app = typer.Typer(help="Scheduled series and quality checks.", no_args_is_help=True)
FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        envvar="MEDALLION_SCHEDULES_FILE",
        help="The schedules file. Default: the stack's.",
        show_default=False,
    ),
]
# `schedule run` prints at most so many differences; quality_checks has all of them.
_DIFFERENCES = 20
NameArgument = Annotated[str, typer.Argument(help="The name of a schedule in the file.")]


@app.command("list")
def list_schedules(file: FileOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Show every schedule of the file: what it does, how its last run ended, and when it runs next."""
    settings = load_settings(data_dir)
    states = _states(data_dir, settings)
    shown = []
    for schedule in _schedules(file, settings):
        state = states.read(schedule.name)
        run = last_run(states, schedule.name, state)
        is_waiting = run["state"] not in {"paused", "running"}
        shown.append(
            {
                **run,
                **_what(schedule),
                "frame": schedule.frame,
                "interval_seconds": int(schedule.interval.total_seconds()),
                "due_at": due_at(state, schedule.interval, datetime.now(UTC)) if is_waiting else None,
            }
        )
    if as_json:
        print_json(shown)
        return
    columns = ("state", "started_at", "succeeded_at", "due_at", "rows")
    rows = [
        [
            row["schedule"],
            " ".join((row["series"], row["provider"])) if row["series"] else f"quality check of {row['check']}",
            *(row[column] for column in columns),
            counted(row["verdicts"]),
            row["error"],
        ]
        for row in shown
    ]
    headings = ("schedule", "what", *columns, "windows", "error")
    print_table(f"Schedules of {file or settings.schedules_file}", headings, rows, empty="none: see docs/series.md")


@app.command("run")
def run(
    name: NameArgument,
    file: FileOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one schedule now, even if it is paused. The exit code is 1 if a market fails; the others are stored.

    Differences that a quality check finds are no failure.
    """
    settings = load_settings(data_dir)
    logs.configure(settings.log_level, "schedule")
    schedule = schedule_named(_schedules(file, settings), name)
    runs = ScheduleRuns(settings, _states(data_dir, settings))
    with working(f"Running {name}", "Run the same command again: it continues after the stored rows.", quiet=as_json):
        _, report = asyncio.run(runs.run(schedule))
    if isinstance(report, CheckReport):
        show_check(report.markets, report.anomalies, _DIFFERENCES, as_json)
        return
    show_report(report, as_json)
    if report.failures:
        failures = "\n".join(f"  {failure}" for failure in report.failures)
        raise IncompleteError(f"{len(report.failures)} questions are not answered in full:\n{failures}")


class PrefectMissingError(SeriesError):
    """Prefect is not installed."""


@app.command("serve")
def serve(
    file: FileOption = None,
    data_dir: DataDirOption = None,
    scheduler: Annotated[
        Literal["medallion", "prefect"],
        typer.Option(
            "--with", help="prefect: run them as flows of the Prefect server of PREFECT_API_URL (medallion[prefect])."
        ),
    ] = "medallion",
) -> None:
    """Run every schedule when it is due, until SIGTERM; metrics and /healthz on MEDALLION_METRICS_PORT.

    At its start it makes up for missed and failed runs. A change of the file takes effect at the next start. With
    Prefect there are no metrics: Prefect's server shows the runs.
    """
    settings = load_settings(data_dir)
    logs.configure(settings.log_level, "schedule")
    schedules = _schedules(file, settings)
    runs = ScheduleRuns(settings, _states(data_dir, settings))
    if scheduler == "prefect":
        _flows().serve_flows(schedules, runs)
        return
    ScheduleService(schedules, runs, settings.metrics_host, settings.metrics_port).serve()


@app.command("pause")
def pause(name: NameArgument, file: FileOption = None, data_dir: DataDirOption = None) -> None:
    """Pause a schedule, also over restarts of `serve`, until `resume`. A run under way continues."""
    settings = load_settings(data_dir)
    schedule_named(_schedules(file, settings), name)
    _states(data_dir, settings).pause(name)
    out.print(f"{name} is paused.")


@app.command("resume")
def resume(name: NameArgument, file: FileOption = None, data_dir: DataDirOption = None) -> None:
    """Undo `pause`: the schedule runs again at its next time and fetches missing rows. `schedule run` runs it now."""
    settings = load_settings(data_dir)
    schedule_named(_schedules(file, settings), name)
    _states(data_dir, settings).resume(name)
    out.print(f"{name} runs again at its next time.")


def prefect_flow(name: str) -> Flow:
    """The flow of a schedule, for your own file of flows (docs/series.md). `MEDALLION_…` names stack and schedules.

    Raises:
        SchedulesFileError: the file cannot be used, or has no such schedule.
        PrefectMissingError: Prefect is not installed.
        StackError: no stack is named and none runs.
    """
    settings = load_settings(None)
    schedule = schedule_named(_schedules(None, settings), name)
    return _flows().flow_of(schedule, ScheduleRuns(settings, _states(None, settings)))


def _flows() -> ModuleType:
    try:
        from series.schedules import flows  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise PrefectMissingError(
            f"There is no module {error.name}: `pip install 'medallion[prefect]'` in an environment of its own "
            "(docs/series.md)"
        ) from error
    return flows


def _schedules(file: Path | None, settings: Settings) -> tuple[Schedule, ...]:
    return load_schedules(file or settings.schedules_file, [frame.code for frame in load_layers().timeframes])


def _what(schedule: Schedule) -> dict[str, Any]:
    """The members of a check or of a series; "" or {} for those of the other kind."""
    if isinstance(schedule, CheckSchedule):
        return {"check": schedule.check, "series": "", "provider": "", "instruments": {}}
    return {
        "check": "",
        "series": schedule.series,
        "provider": schedule.provider_name,
        "instruments": schedule.instruments,
    }


def _states(data_dir: Path | None, settings: Settings) -> ScheduleStates:
    return ScheduleStates(find_state_folder(data_dir, settings).folder)
