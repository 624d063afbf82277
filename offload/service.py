"""`medallion offload serve`: offloads at its start and at five past every hour, until SIGTERM.

The service repeats a failed run after five minutes. A run offloads every hour that Iceberg lacks, so the first run
after an outage also offloads the hours of the outage.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import orjson
import structlog
from aiohttp import web
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, JobExecutionEvent
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from config import metrics_server
from config.disks import FULL, DiskMetrics, local_folder, measure
from config.settings import Settings
from offload.clickhouse.client import ClickHouseHttp
from offload.clickhouse.tiers import Tiers
from offload.errors import OffloadStoppedError
from offload.hourly.status import status
from offload.maintain.compaction import compact
from offload.maintain.expiry import maintain
from offload.metrics import OffloadMetrics
from offload.proof.completeness import Completeness
from offload.report import OffloadProgress
from offload.retention.gate import GateReport, close_gate
from offload.run import run

RETRY_SECONDS = 300.0
# The service is unhealthy if no run has succeeded for an hour and a half.
OVERDUE_SECONDS = 5400.0
# The fields of each table in the answer of `/healthz`.
_SHOWN = {"table", "complete_until", "rows", "files", "bytes", "pending", "lag_seconds"}
# Ids of the jobs that count completeness.
_COUNTS = ("completeness", "count now")


class OffloadService:
    """The scheduled offload: a run at `minute` past each hour, then the gate, which drops partitions only if `drop`."""

    def __init__(
        self, settings: Settings, *, minute: int = 5, drop: bool = False, retry_seconds: float = RETRY_SECONDS
    ) -> None:
        self.metrics = OffloadMetrics()
        self._completeness = Completeness(settings.exchanges, self.metrics.registry)
        folder = local_folder(settings.iceberg_warehouse)
        self._places = {"warehouse": folder} if folder is not None else {}
        self.metrics.registry.register(DiskMetrics(self._places))
        self._counting = threading.Lock()
        self.stop = threading.Event()
        self._settings = settings
        self._drop = drop
        self._retry_seconds = retry_seconds
        self._log = structlog.get_logger()
        # Faults of the hourly and the daily job, each until the job succeeds again.
        self._faults: dict[str, str] = {}
        self._last_success = time.monotonic()
        # Runs that were missed while another was under way become one run, however late.
        self._scheduler = BackgroundScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )
        self._scheduler.add_job(self._cycle, CronTrigger(minute=minute, timezone=UTC), id="hourly")
        self._scheduler.add_job(self._cycle, id="now")
        self._scheduler.add_job(self._maintain, CronTrigger(hour=3, minute=35, timezone=UTC), id="daily")
        # By this minute the messages that arrived at the end of the hour have reached Silver.
        self._scheduler.add_job(self._count, CronTrigger(minute=minute, timezone=UTC), id="completeness")
        self._scheduler.add_job(self._count, id="count now")
        self._scheduler.add_listener(self._ended, EVENT_JOB_ERROR | EVENT_JOB_EXECUTED)
        self._busy = threading.Lock()

    def trouble(self) -> str:
        """Why the service is not healthy; "" if it is."""
        full = [str(disk) for disk in measure(self._places) if disk.level == FULL]
        if self._faults or full:
            return "; ".join([*self._faults.values(), *full])
        quiet = time.monotonic() - self._last_success
        return f"no successful run for {quiet:.0f} s" if quiet > OVERDUE_SECONDS else ""

    def serve(self, ready: Callable[[int], None] = lambda _: None) -> None:
        """Run until SIGTERM, SIGINT or `stop`, then finish the slice under way. `ready` is given the metrics port.

        Raises:
            OSError: the metrics port is taken.
        """
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self.stop.set())
        asyncio.run(self._serve(ready))

    async def _serve(self, ready: Callable[[int], None]) -> None:
        """The scheduler has its own threads, so `/metrics` and `/healthz` answer while a job runs."""
        host = self._settings.metrics_host
        server, port = await metrics_server.serve(
            self.metrics.registry, {"/healthz": self._health}, host, self._settings.metrics_port
        )
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
        tables = [table.model_dump(mode="json", include=_SHOWN) for table in self.metrics.tables]
        body = orjson.dumps({"healthy": not fault, "fault": fault, "tables": tables}) + b"\n"
        return web.Response(body=body, status=503 if fault else 200, content_type="application/json")

    def _cycle(self) -> None:
        with self._busy, self._tiers() as tiers:
            report = run(tiers, progress=self._watch)
            self.metrics.observe_run(report)
            self.metrics.observe_status(status(tiers))
            self._observe_gate(close_gate(tiers, drop=self._drop))
        written = sum(part.rows for part in report.slices if part.outcome == "written")
        self._log.info("offloaded", rows=written, slices=len(report.slices), seconds=round(report.seconds, 3))

    def _count(self) -> None:
        with self._counting, contextlib.closing(ClickHouseHttp(self._settings)) as store:
            broken = self._completeness.count(store, datetime.now(UTC))
        for count in broken:
            self._log.warning("incomplete", **count.model_dump(mode="json"))

    def _maintain(self) -> None:
        with self._busy, self._tiers() as tiers:
            merged = compact(tiers, progress=self._end_if_stopped)
            self.metrics.observe_compaction(merged)
            done = maintain(tiers.cold)
        self.metrics.observe_maintenance(done)
        removed, expired = sum(part.removed_files for part in done), sum(part.expired_snapshots for part in done)
        files, into, gave_way = (sum(getattr(part, name) for part in merged) for name in ("files", "into", "conflicts"))
        self._log.info("compacted", files=files, into=into, conflicts=gave_way)
        self._log.info("maintenance done", removed_files=removed, expired_snapshots=expired)

    @contextlib.contextmanager
    def _tiers(self) -> Iterator[Tiers]:
        """Both tiers, opened once for a job, in its own thread."""
        with contextlib.closing(ClickHouseHttp(self._settings)) as hot:
            yield Tiers.open(self._settings, hot)

    def _end_if_stopped(self, *_: object) -> None:
        if self.stop.is_set():
            raise OffloadStoppedError("The service was told to stop: run again for the rest.")

    def _watch(self, step: OffloadProgress) -> None:
        if step.step == "exporting":
            self._end_if_stopped()

    def _observe_gate(self, report: GateReport) -> None:
        for table in {verdict.table for verdict in report.verdicts}:
            states = [verdict.state for verdict in report.verdicts if verdict.table == table]
            self.metrics.held.labels(table).set(states.count("held"))
            self.metrics.dropped.labels(table).inc(states.count("dropped"))

    def _ended(self, event: JobExecutionEvent) -> None:
        """Called after each job. A job that failed becomes a fault of the service and is scheduled again."""
        if event.job_id in _COUNTS:
            if event.exception is not None:
                self._log.error("completeness not counted", error=str(event.exception))
            return
        is_daily = event.job_id.startswith("daily")
        kind, job = ("daily", self._maintain) if is_daily else ("hourly", self._cycle)
        if event.exception is None:
            self._faults.pop(kind, None)
            if not is_daily:
                self._last_success = time.monotonic()
            return
        if isinstance(event.exception, OffloadStoppedError):
            return
        self._faults[kind] = f"{type(event.exception).__name__}: {event.exception}"
        self.metrics.runs.labels("failed").inc()
        self._log.error(f"{kind} job failed", error=self._faults[kind], again_in_seconds=self._retry_seconds)
        if not self.stop.is_set():
            again = datetime.now(UTC) + timedelta(seconds=self._retry_seconds)
            self._scheduler.add_job(job, "date", run_date=again, id=f"{kind}-again", replace_existing=True)
