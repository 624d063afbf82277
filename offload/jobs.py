"""The three jobs of the offload service: offload, maintain, count."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import structlog

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


class OffloadJobs:
    """What the service does at its times. A method may be called in any thread; it waits for one that excludes it."""

    def __init__(
        self,
        settings: Settings,
        metrics: OffloadMetrics,
        completeness: Completeness,
        stop: threading.Event,
        *,
        drop: bool,
    ) -> None:
        """`stop` ends a job after the slice under way; `drop` lets the gate drop partitions."""
        self._settings = settings
        self._metrics = metrics
        self._completeness = completeness
        self._stop = stop
        self._drop = drop
        self._log = structlog.get_logger()
        # Both write to Iceberg.
        self._offloading_or_maintaining = threading.Lock()
        self._counting = threading.Lock()

    def offload(self) -> None:
        """Offload every hour that Iceberg lacks, then the gate.

        Raises:
            OffloadStoppedError: `stop` was set.
        """
        with self._offloading_or_maintaining, self._tiers() as tiers:
            report = run(tiers, progress=self._watch)
            self._metrics.observe_run(report)
            self._metrics.observe_status(status(tiers))
            self._observe_gate(close_gate(tiers, drop=self._drop))
        written = sum(part.rows for part in report.slices if part.outcome == "written")
        self._log.info("offloaded", rows=written, slices=len(report.slices), seconds=round(report.seconds, 3))

    def maintain(self) -> None:
        """Merge small files, expire snapshots, remove files that nothing names.

        Raises:
            OffloadStoppedError: `stop` was set.
        """
        with self._offloading_or_maintaining, self._tiers() as tiers:
            merged = compact(tiers, progress=self._end_if_stopped)
            self._metrics.observe_compaction(merged)
            done = maintain(tiers.cold)
        self._metrics.observe_maintenance(done)
        removed, expired = sum(part.removed_files for part in done), sum(part.expired_snapshots for part in done)
        files, into, gave_way = (sum(getattr(part, name) for part in merged) for name in ("files", "into", "conflicts"))
        self._log.info("compacted", files=files, into=into, conflicts=gave_way)
        self._log.info("maintenance done", removed_files=removed, expired_snapshots=expired)

    def count(self) -> None:
        """Count the completeness of the hours that have closed."""
        with self._counting, contextlib.closing(ClickHouseHttp(self._settings)) as store:
            broken = self._completeness.count(store, datetime.now(UTC))
        for count in broken:
            self._log.warning("incomplete", **count.model_dump(mode="json"))

    @contextlib.contextmanager
    def _tiers(self) -> Iterator[Tiers]:
        """Both tiers, opened once for a job, in its own thread."""
        with contextlib.closing(ClickHouseHttp(self._settings)) as hot:
            yield Tiers.open(self._settings, hot)

    def _end_if_stopped(self, *_: object) -> None:
        if self._stop.is_set():
            raise OffloadStoppedError("The service was told to stop: run again for the rest.")

    def _watch(self, step: OffloadProgress) -> None:
        if step.step == "exporting":
            self._end_if_stopped()

    def _observe_gate(self, report: GateReport) -> None:
        for table in {verdict.table for verdict in report.verdicts}:
            states = [verdict.state for verdict in report.verdicts if verdict.table == table]
            self._metrics.held.labels(table).set(states.count("held"))
            self._metrics.dropped.labels(table).inc(states.count("dropped"))
