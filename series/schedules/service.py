"""`medallion schedule serve`: runs every schedule when it is due, until SIGTERM.

A run that was missed, failed or was killed is made up for when the service starts. A failed run is repeated after five
minutes, or by the next scheduled run if that comes sooner.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import orjson
import structlog
from aiohttp import web
from apscheduler.events import EVENT_JOB_ERROR, JobExecutionEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger
from prometheus_client import CollectorRegistry, Counter, Gauge

from config.process import metrics_server
from config.process.stopping import stop_signals
from series.quality.anomalies import Kind
from series.quality.causes import Cause
from series.quality.compare import EQUAL
from series.schedules.declaration import CheckSchedule, Schedule
from series.schedules.run import ScheduleRuns
from series.schedules.state import RETRY_SECONDS, ScheduleBusyError, ScheduleState, due_at

_AGAIN = ":again"


class ScheduleMetrics:
    """The metrics of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.runs = Counter(
            "medallion_schedule_runs", "Runs by outcome", ["schedule", "outcome"], registry=self.registry
        )
        self.rows = Counter("medallion_schedule_rows", "Rows received", ["schedule"], registry=self.registry)
        self.rejected = Counter(
            "medallion_schedule_rejected_rows", "Rows that broke a rule", ["schedule"], registry=self.registry
        )
        self.last_success = self._gauge(
            "last_success_timestamp_seconds", "Start of the last good run; 0: there is none"
        )
        self.interval = self._gauge("interval_seconds", "From the start of a run to that of the next")
        self.paused = self._gauge("paused", "1 while the schedule is paused")
        self.anomalies = Gauge(
            "medallion_quality_anomalies",
            "Anomalies that the last good check found, by kind",
            ["schedule", "kind"],
            registry=self.registry,
        )
        self.windows = Gauge(
            "medallion_quality_windows",
            "Windows that the last good check compared, by `equal` or the cause of the difference",
            ["schedule", "verdict"],
            registry=self.registry,
        )

    def succeeded(self, schedule: Schedule, state: ScheduleState | None) -> None:
        """Set the metrics of the newest good run of a schedule. `state`: None before the first run."""
        good = state.succeeded_at if state is not None else None
        self.last_success.labels(schedule.name).set(good.timestamp() if good is not None else 0)
        if isinstance(schedule, CheckSchedule):
            found = state.verdicts if state is not None else {}
            for verdict in (EQUAL, *Cause):
                self.windows.labels(schedule.name, verdict).set(found.get(verdict, 0))
            anomalies = state.anomalies if state is not None else {}
            for kind in Kind:
                self.anomalies.labels(schedule.name, kind).set(anomalies.get(kind, 0))

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"medallion_schedule_{name}", text, ["schedule"], registry=self.registry)


class ScheduleService:
    """Runs schedules. Two runs of one schedule never overlap; runs of different schedules may."""

    def __init__(
        self,
        schedules: Sequence[Schedule],
        runs: ScheduleRuns,
        host: str,
        port: int,
        *,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """`host`, `port`: of `/metrics` and `/healthz`; 0 is any free port."""
        self.metrics = ScheduleMetrics()
        self._schedules = {schedule.name: schedule for schedule in schedules}
        self._runs = runs
        self._host, self._port = host, port
        self._retry = timedelta(seconds=retry_seconds)
        self._log = structlog.get_logger()
        # The error of each schedule whose last run failed.
        self._faults: dict[str, str] = {}
        # Runs that were missed during another run, or while the machine slept, become one run, however late.
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )
        self._scheduler.add_listener(self._raised, EVENT_JOB_ERROR)

    def serve(self, stop: threading.Event | None = None, ready: Callable[[int], None] = lambda _: None) -> None:
        """Run until SIGTERM, SIGINT, SIGHUP or `stop`. `ready` is called with the metrics port.

        Runs under way end at once. Their stored rows stay, and the next run continues after them.

        Raises:
            OSError: the metrics port is taken.
        """
        asyncio.run(self._serve(stop, ready))

    async def _serve(self, stop: threading.Event | None, ready: Callable[[int], None]) -> None:
        ended = asyncio.Event()
        if stop is None:
            for number in stop_signals():
                asyncio.get_running_loop().add_signal_handler(number, ended.set)
        server, port = await metrics_server.serve(
            self.metrics.registry, {"/healthz": self._health}, self._host, self._port
        )
        try:
            for schedule in self._schedules.values():
                self._add(schedule)
            self._scheduler.start()
            self._log.info("schedules served", schedules=len(self._schedules), host=self._host, metrics_port=port)
            ready(port)
            await (ended.wait() if stop is None else asyncio.to_thread(stop.wait))
            self._log.info("schedules stop")
            self._scheduler.shutdown(wait=False)
        finally:
            await server.cleanup()

    def _add(self, schedule: Schedule) -> None:
        state = self._runs.states.read(schedule.name)
        self.metrics.succeeded(schedule, state)
        self.metrics.interval.labels(schedule.name).set(schedule.interval.total_seconds())
        self.metrics.paused.labels(schedule.name).set(self._runs.states.is_paused(schedule.name))
        self._scheduler.add_job(
            self._turn,
            IntervalTrigger(seconds=int(schedule.interval.total_seconds()), timezone=UTC),
            (schedule,),
            id=schedule.name,
            next_run_time=due_at(state, schedule.interval, self._runs.clock()),
        )

    async def _turn(self, schedule: Schedule) -> None:
        name = schedule.name
        is_paused = self._runs.states.is_paused(name)
        self.metrics.paused.labels(name).set(is_paused)
        if is_paused:
            return
        try:
            state, _ = await self._runs.run(schedule)
        except ScheduleBusyError as error:
            self._log.info("left out", schedule=name, why=str(error))
            return
        except asyncio.CancelledError:
            # The service stops. The state of this run has no end, so the next start makes up for it.
            self._log.info("stopped under way", schedule=name)
            return
        self.metrics.rows.labels(name).inc(state.rows)
        self.metrics.rejected.labels(name).inc(state.rejected)
        if state.error:
            self._failed(schedule, state.error)
            return
        self._faults.pop(name, None)
        self.metrics.runs.labels(name, "ok").inc()
        self.metrics.succeeded(schedule, state)
        found = {**state.verdicts, **state.anomalies} if isinstance(schedule, CheckSchedule) else {}
        self._log.info("schedule ran", schedule=name, rows=state.rows, rejected=state.rejected, **found)

    def _raised(self, event: JobExecutionEvent) -> None:
        """Called when a run ended with an exception: ClickHouse was away, or our code is wrong."""
        name = event.job_id.removesuffix(_AGAIN)
        self._failed(self._schedules[name], f"{type(event.exception).__name__}: {event.exception}")

    def _failed(self, schedule: Schedule, fault: str) -> None:
        self._faults[schedule.name] = fault
        self.metrics.runs.labels(schedule.name, "failed").inc()
        self._log.error("schedule failed", schedule=schedule.name, error=fault)
        if self._retry < schedule.interval:
            again = datetime.now(UTC) + self._retry
            self._scheduler.add_job(
                self._turn, "date", (schedule,), run_date=again, id=schedule.name + _AGAIN, replace_existing=True
            )

    def _health(self) -> web.Response:
        """503 while the last run of any schedule has failed."""
        shown = {"healthy": not self._faults, "faults": self._faults}
        return web.Response(
            status=503 if self._faults else 200, body=orjson.dumps(shown) + b"\n", content_type="application/json"
        )
