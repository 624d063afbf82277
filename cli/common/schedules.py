"""Schedules and their last runs, as `medallion schedule list` and `medallion status` show them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cli.common.context import counted, print_table
from series.schedules.state import ScheduleState, ScheduleStates


def last_run(states: ScheduleStates, name: str, state: ScheduleState | None) -> dict[str, Any]:
    """The state of a schedule. `state`: running, paused, failed, ok, or new where it never ran."""
    if states.is_running(name):
        word = "running"
    elif states.is_paused(name):
        word = "paused"
    elif state is None:
        word = "new"
    else:
        word = "failed" if state.error or state.ended_at is None else "ok"
    return {
        "schedule": name,
        "state": word,
        "started_at": state.started_at if state else None,
        "ended_at": state.ended_at if state else None,
        "succeeded_at": state.succeeded_at if state else None,
        "rows": state.rows if state else 0,
        "rejected": state.rejected if state else 0,
        "error": state.error if state else "",
        "verdicts": state.verdicts if state else {},
        "checked_until": state.checked_until if state else {},
    }


def last_runs(states: ScheduleStates) -> list[dict[str, Any]]:
    """Of every schedule that ever ran on this machine for the stack."""
    return [last_run(states, state.schedule, state) for state in states.all()]


def print_runs(runs: Iterable[dict[str, Any]]) -> None:
    """Print a line a schedule; nothing where none ever ran."""
    if not (runs := list(runs)):
        return
    columns = ("schedule", "state", "started_at", "succeeded_at", "rows", "rejected")
    rows = [[*(run[column] for column in columns), counted(run["verdicts"]), run["error"]] for run in runs]
    print_table("Schedules", (*columns, "windows", "error"), rows)
