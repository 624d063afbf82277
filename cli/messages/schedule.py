"""`medallion schedule list|run|serve|pause|resume`: series that are brought up to date by themselves."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.common.context import DataDirOption, JsonOption, load_settings, out, print_json, print_table
from cli.common.schedules import last_run
from cli.common.state_folder import find_state_folder
from cli.common.work import working
from cli.messages.series import show_report
from config import logs
from config.settings import DEFAULT_SCHEDULES_FILE, Settings
from series.errors import IncompleteError
from series.schedules.declaration import load_schedules, schedule_named
from series.schedules.run import ScheduleRuns
from series.schedules.service import ScheduleService
from series.schedules.state import ScheduleStates, due_at

app = typer.Typer(help="Series that are brought up to date by themselves.", no_args_is_help=True)
FileOption = Annotated[
    Path, typer.Option("--file", envvar="MEDALLION_SCHEDULES_FILE", help="The schedules.", show_default=False)
]
NameArgument = Annotated[str, typer.Argument(help="A schedule of the file.")]


@app.command("list")
def list_schedules(
    file: FileOption = DEFAULT_SCHEDULES_FILE, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """Show every schedule of the file: what it asks for, how its last run ended, and when it runs next."""
    states = _states(data_dir, load_settings(data_dir))
    shown = []
    for one in load_schedules(file):
        state = states.read(one.name)
        run = last_run(states, one.name, state)
        goes_on = run["state"] not in {"paused", "running"}
        shown.append(
            {
                **run,
                "series": one.series,
                "provider": one.provider_name,
                "instruments": one.instruments,
                "frame": one.frame,
                "interval_seconds": int(one.interval.total_seconds()),
                "due_at": due_at(state, one.interval, datetime.now(UTC)) if goes_on else None,
            }
        )
    if as_json:
        print_json(shown)
        return
    columns = ("schedule", "series", "provider", "state", "started_at", "succeeded_at", "due_at", "rows", "error")
    rows = [[one[column] for column in columns] for one in shown]
    print_table(f"Schedules of {file}", columns, rows, empty="none: see docs/series.md")


@app.command("run")
def run(
    name: NameArgument,
    file: FileOption = DEFAULT_SCHEDULES_FILE,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one schedule now, also if it is paused. Exit code 1 where a market is missing: the others are stored."""
    settings = load_settings(data_dir)
    logs.configure(settings.log_level, "schedule")
    schedule = schedule_named(load_schedules(file), name)
    runs = ScheduleRuns(settings, _states(data_dir, settings))
    with working(f"Running {name}", "Run the same command again: it goes on from what is stored.", quiet=as_json):
        report = asyncio.run(runs.run(schedule))
    show_report(report, as_json)
    if report.failures:
        said = "\n".join(f"  {failure}" for failure in report.failures)
        raise IncompleteError(f"{len(report.failures)} questions are not answered in full:\n{said}")


@app.command("serve")
def serve(file: FileOption = DEFAULT_SCHEDULES_FILE, data_dir: DataDirOption = None) -> None:
    """Run every schedule when it is due, until SIGTERM; metrics and /healthz on MEDALLION_METRICS_PORT.

    What was missed while nothing served is made up at once. A change of the file is read with the next start.
    """
    settings = load_settings(data_dir)
    logs.configure(settings.log_level, "schedule")
    schedules = load_schedules(file)
    runs = ScheduleRuns(settings, _states(data_dir, settings))
    ScheduleService(schedules, runs, settings.metrics_host, settings.metrics_port).serve()


@app.command("pause")
def pause(name: NameArgument, file: FileOption = DEFAULT_SCHEDULES_FILE, data_dir: DataDirOption = None) -> None:
    """Let `serve` leave a schedule out, also after a restart, until `resume`; a run under way goes on."""
    schedule_named(load_schedules(file), name)
    _states(data_dir, load_settings(data_dir)).pause(name)
    out.print(f"{name} is paused.")


@app.command("resume")
def resume(name: NameArgument, file: FileOption = DEFAULT_SCHEDULES_FILE, data_dir: DataDirOption = None) -> None:
    """Undo `pause`: the schedule runs with its next turn, from where it stopped; `schedule run` does it at once."""
    schedule_named(load_schedules(file), name)
    _states(data_dir, load_settings(data_dir)).resume(name)
    out.print(f"{name} goes on with its next turn.")


def _states(data_dir: Path | None, settings: Settings) -> ScheduleStates:
    return ScheduleStates(find_state_folder(data_dir, settings).folder)
