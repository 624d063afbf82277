"""The schedules as flows of Prefect 3 (`medallion[prefect]`). Each schedule is a flow, each of its markets a task.

A flow uses the functions, the state and the lock of `medallion schedule run`. Prefect starts it, repeats it after a
failure, and shows it. Within a run the providers repeat refused requests, as without Prefect.
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
    """The address of a Prefect server is not set."""


def flow_of(schedule: Schedule, runs: ScheduleRuns, *, retry_seconds: int = RETRY_SECONDS) -> Flow:
    """The flow `medallion-<name>`. It fails with the names of the markets that are missing; the others are stored.

    A failed run is repeated every `retry_seconds` until the next scheduled run. A run ends at once, as a completed one
    named `Skipped`, if the schedule is paused, if another run is under way, or if a good run began after this one was
    due.
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
        # The last repetition comes before the next scheduled run, which asks for the same.
        retries=math.ceil(schedule.interval.total_seconds() / retry_seconds) - 1,
        retry_delay_seconds=retry_seconds,
        persist_result=False,
    )


def serve_flows(schedules: Sequence[Schedule], runs: ScheduleRuns) -> None:
    """Create a deployment `medallion-<name>/schedule` of each schedule and run them until SIGTERM.

    Several machines may serve the same schedules; one of them makes each run.

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
    # The deployments are not paused at the end, so that Prefect makes up for missed runs, on any machine.
    await (await runner_of(schedules, runs)).start()


async def runner_of(schedules: Sequence[Schedule], runs: ScheduleRuns) -> Runner:
    """Create the deployments and return Prefect's runner of them. A schedule that is due gets a run at once.

    Prefect only knows scheduled runs that its server has seen. So the first run, and the run in place of one that
    failed or was killed, is created here.
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
    """Why a run is skipped; None: it is not."""
    name = schedule.name
    if runs.states.is_paused(name):
        return f"{name} is paused: `medallion schedule resume {name}` lets it run"
    state, due = runs.states.read(name), flow_run.scheduled_start_time
    good = state.succeeded_at if state is not None else None
    if good is not None and due is not None and good >= due:
        return f"the run of {good.isoformat()} has made up for it"
    return None


async def _as_task(market: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run the work of a market as a task of Prefect, which is never repeated by itself."""

    async def ask() -> None:
        await work()

    await Task(ask, name=market, cache_policy=NO_CACHE, persist_result=False)()
