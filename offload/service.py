"""`medallion offload serve`: offloads at its start and at five past every hour, until SIGTERM.

The service repeats a failed run after five minutes. A run offloads every hour that Iceberg lacks, so the first run
after an outage also offloads the hours of the outage.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import structlog
from aiohttp import web
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, JobExecutionEvent
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from config.process import metrics_server
from config.process.disk_metrics import DiskMetrics
from config.process.disks import FULL, local_folder, measure
from config.process.stopping import stop_signals
from config.settings import Settings
from offload.errors import OffloadStoppedError
from offload.jobs import OffloadJobs
from offload.metrics import OffloadMetrics
from offload.proof.completeness import Completeness

RETRY_SECONDS = 300.0
# The service is unhealthy if no run has succeeded for an hour and a half.
OVERDUE_SECONDS = 5400.0
# The fields of each table in the answer of `/healthz`.
_SHOWN = {"table", "complete_until", "rows", "files", "bytes", "pending", "lag_seconds"}
# Ids of the jobs that count completeness.
_COUNTS = ("completeness", "count now")


def offload_service(
    settings: Settings, *, minute: int = 5, drop: bool = False, retry_seconds: float = RETRY_SECONDS
) -> OffloadService:
    """The service with all its parts: a run at `minute` past each hour, then the gate, which drops only if `drop`."""
    metrics = OffloadMetrics()
    completeness = Completeness(settings.exchanges, metrics.registry)
    folder = local_folder(settings.iceberg_warehouse)
    disks = {"warehouse": folder} if folder is not None else {}
    metrics.registry.register(DiskMetrics(disks))
    stop = threading.Event()
    jobs = OffloadJobs(settings, metrics, completeness, stop, drop=drop)
    # Runs that were missed while another was under way become one run, however late.
    scheduler = BackgroundScheduler(
        timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
    )
    scheduler.add_job(jobs.offload, CronTrigger(minute=minute, timezone=UTC), id="hourly")
    scheduler.add_job(jobs.offload, id="now")
    scheduler.add_job(jobs.maintain, CronTrigger(hour=3, minute=35, timezone=UTC), id="daily")
    # By this minute the messages that arrived at the end of the hour have reached Silver.
    scheduler.add_job(jobs.count, CronTrigger(minute=minute, timezone=UTC), id="completeness")
    scheduler.add_job(jobs.count, id="count now")
    address = settings.metrics_host, settings.metrics_port
    return OffloadService(jobs, scheduler, metrics, disks, stop, address, retry_seconds)


class OffloadService:
    """The scheduled offload: runs its jobs, repeats those that fail, and says how it is."""

    def __init__(
        self,
        jobs: OffloadJobs,
        scheduler: BackgroundScheduler,
        metrics: OffloadMetrics,
        disks: Mapping[str, Path],
        stop: threading.Event,
        address: tuple[str, int],
        retry_seconds: float,
    ) -> None:
        """Starts nothing. `offload_service` makes the parts.

        Args:
            jobs: what is done.
            scheduler: when; it has the jobs and is not started.
            metrics: what `/metrics` and `/healthz` show.
            disks: folders by name. The service is unhealthy if the disk of one is full.
            stop: ends the service.
            address: host and port of the metrics; port 0 is any free one.
            retry_seconds: after which a failed job is repeated.
        """
        self.stop = stop
        self._jobs = jobs
        self._scheduler = scheduler
        self._metrics = metrics
        self._disks = disks
        self._address = address
        self._retry_seconds = retry_seconds
        self._log = structlog.get_logger()
        # Faults of the hourly and the daily job, each until the job succeeds again.
        self._faults: dict[str, str] = {}
        self._last_success = time.monotonic()
        scheduler.add_listener(self._ended, EVENT_JOB_ERROR | EVENT_JOB_EXECUTED)

    def trouble(self) -> str:
        """Why the service is not healthy; "" if it is."""
        full = [str(disk) for disk in measure(self._disks) if disk.level == FULL]
        if self._faults or full:
            return "; ".join([*self._faults.values(), *full])
        quiet = time.monotonic() - self._last_success
        return f"no successful run for {quiet:.0f} s" if quiet > OVERDUE_SECONDS else ""

    def serve(self, ready: Callable[[int], None] = lambda _: None) -> None:
        """Run until SIGTERM, SIGINT, SIGHUP or `stop`, then finish the slice under way.

        `ready` is given the metrics port.

        Raises:
            OSError: the metrics port is taken.
        """
        if threading.current_thread() is threading.main_thread():
            for number in stop_signals():
                signal.signal(number, lambda *_: self.stop.set())
        asyncio.run(self._serve(ready))

    async def _serve(self, ready: Callable[[int], None]) -> None:
        """The scheduler has its own threads, so `/metrics` and `/healthz` answer while a job runs."""
        host, port = self._address
        server, port = await metrics_server.serve(self._metrics.registry, {"/healthz": self._health}, host, port)
        try:
            self._scheduler.start()
            self._log.info("offload serves", host=host, metrics_port=port)
            ready(port)
            await asyncio.to_thread(self.stop.wait)
            self._log.info("offload stops after the slice under way")
            await asyncio.to_thread(self._scheduler.shutdown, wait=True)
        finally:
            await server.cleanup()

    def _health(self) -> web.Response:
        """Status 200 or 503, and JSON with the fault and every table."""
        fault = self.trouble()
        tables = [table.model_dump(mode="json", include=_SHOWN) for table in self._metrics.tables]
        body = orjson.dumps({"healthy": not fault, "fault": fault, "tables": tables}) + b"\n"
        return web.Response(body=body, status=503 if fault else 200, content_type="application/json")

    def _ended(self, event: JobExecutionEvent) -> None:
        """Called after each job. A job that failed becomes a fault of the service and is scheduled again."""
        if event.job_id in _COUNTS:
            if event.exception is not None:
                self._log.error("completeness not counted", error=str(event.exception))
            return
        is_daily = event.job_id.startswith("daily")
        kind, job = ("daily", self._jobs.maintain) if is_daily else ("hourly", self._jobs.offload)
        if event.exception is None:
            self._faults.pop(kind, None)
            if not is_daily:
                self._last_success = time.monotonic()
            return
        if isinstance(event.exception, OffloadStoppedError):
            return
        self._faults[kind] = f"{type(event.exception).__name__}: {event.exception}"
        self._metrics.runs.labels("failed").inc()
        self._log.error(f"{kind} job failed", error=self._faults[kind], again_in_seconds=self._retry_seconds)
        if not self.stop.is_set():
            again = datetime.now(UTC) + timedelta(seconds=self._retry_seconds)
            self._scheduler.add_job(job, "date", run_date=again, id=f"{kind}-again", replace_existing=True)
