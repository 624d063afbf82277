"""The schedules for Prefect 3 (`medallion[prefect]`): a flow of each, in it a task of each market.

A flow is `medallion schedule run`: the same functions, state and lock. Prefect says when it runs, repeats it where it
failed, and shows it. Within a run the providers repeat refused requests as everywhere.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from prefect import Flow, State, Task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.runner import Runner
from prefect.runtime import flow_run
from prefect.schedules import Interval
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed

from series.errors import IncompleteError, SeriesError
from series.schedules.declaration import Schedule
from series.schedules.run import ScheduleRuns
from series.schedules.state import RETRY_SECONDS, ScheduleBusyError, due_at

DEPLOYMENT = "schedule"


class PrefectServerError(SeriesError):
    """No Prefect server is named."""


def flow_of(schedule: Schedule, runs: ScheduleRuns, *, retry_seconds: int = RETRY_SECONDS) -> Flow:
    """The flow `medallion-<name>`. It fails with the names of the markets that are missing; the others are stored.

    It is repeated every `retry_seconds` until the next turn. A run is left out, as a completed one named `Skipped`,
    where the schedule is paused, where a run is under way, and where a good run began after this one was due.
    """

    async def run() -> State:
        if (why := _left_out(schedule, runs)) is not None:
            return Completed(name="Skipped", message=why)
        try:
            state, _ = await dataclasses.replace(runs, around=_as_task).run(schedule)
        except ScheduleBusyError as error:
            return Completed(name="Skipped", message=str(error))
        if state.error:
            raise IncompleteError(state.error)
        return Completed(message=f"{state.rows:,} rows, {state.rejected:,} of them rejected")

    return Flow(
        run,
        name=f"medallion-{schedule.name}",
        # The last one comes before the next turn, which asks for the same.
        retries=math.ceil(schedule.interval.total_seconds() / retry_seconds) - 1,
        retry_delay_seconds=retry_seconds,
        persist_result=False,
    )


def serve_flows(schedules: Sequence[Schedule], runs: ScheduleRuns) -> None:
    """Give Prefect a deployment `medallion-<name>/schedule` of each schedule and run them until SIGTERM.

    Several machines may serve the same schedules: each run is one machine's.

    Raises:
        PrefectServerError: `PREFECT_API_URL` is not set.
    """
    if not PREFECT_API_URL.value():
        raise PrefectServerError(
            "PREFECT_API_URL is not set: start `prefect server start`, then "
            "`prefect config set PREFECT_API_URL=http://127.0.0.1:4200/api` (docs/series.md)"
        )
    asyncio.run(_serve(schedules, runs))


async def _serve(schedules: Sequence[Schedule], runs: ScheduleRuns) -> None:
    # Without a pause at the end: Prefect makes up for the turns of the time between, on any machine.
    await (await runner_of(schedules, runs)).start()


async def runner_of(schedules: Sequence[Schedule], runs: ScheduleRuns) -> Runner:
    """Prefect's runner of the deployments, which exist then. What is due has a run.

    Prefect knows only the turns that its server has seen: we ask for the first run, and for one in place of a run that
    failed or was killed.
    """
    runner = Runner(name="medallion", pause_on_shutdown=False)
    async with get_client() as client:
        for schedule in schedules:
            now = datetime.now(UTC)
            due = due_at(runs.states.read(schedule.name), schedule.interval, now)
            deployment = await runner.aadd_flow(
                flow_of(schedule, runs),
                name=DEPLOYMENT,
                schedule=Interval(schedule.interval, anchor_date=due, timezone="UTC"),
                concurrency_limit=ConcurrencyLimitConfig(
                    limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
                ),
            )
            if due <= now:
                await client.create_flow_run_from_deployment(deployment)
    return runner


def _left_out(schedule: Schedule, runs: ScheduleRuns) -> str | None:
    """Why a run is left out; None: it is not."""
    name = schedule.name
    if runs.states.is_paused(name):
        return f"{name} is paused: `medallion schedule resume {name}` lets it run"
    state, due = runs.states.read(name), flow_run.scheduled_start_time
    good = state.succeeded_at if state is not None else None
    if good is not None and due is not None and good >= due:
        return f"the run of {good.isoformat()} has made up for it"
    return None


async def _as_task(market: str, work: Callable[[], Awaitable[None]]) -> None:
    """Let Prefect show the work of a market as a task, which is never repeated by itself."""

    async def ask() -> None:
        await work()

    await Task(ask, name=market, cache_policy=NO_CACHE, persist_result=False)()
