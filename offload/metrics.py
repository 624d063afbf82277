"""Prometheus metrics of the offload service."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from offload.hourly.status import TableStatus
from offload.maintain.compaction import Compaction
from offload.maintain.expiry import TableMaintenance
from offload.report import OffloadReport

_SECONDS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


class OffloadMetrics:
    """The metrics of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.tables: tuple[TableStatus, ...] = ()
        self.runs = Counter("medallion_offload_runs", "Offload runs by outcome", ["outcome"], registry=self.registry)
        self.seconds = Histogram(
            "medallion_offload_run_seconds", "Duration of a run", buckets=_SECONDS, registry=self.registry
        )
        self.last_success = Gauge(
            "medallion_offload_last_success_timestamp_seconds", "End of the last good run", registry=self.registry
        )
        self.written = self._counter("medallion_offload_written_rows", "Rows written to Iceberg")
        self.rebuilt = self._counter(
            "medallion_offload_rebuilt_slices", "Gold slices made of cold Silver, their hot partition having left"
        )
        self.lag = self._gauge("medallion_offload_lag_seconds", "Since the earliest hour not offloaded was over")
        self.complete = self._gauge(
            "medallion_offload_complete_until_timestamp_seconds", "End of the last arrival hour in the cold table"
        )
        self.pending = self._gauge("medallion_offload_pending_hours", "Closed hours that are not offloaded")
        self.rows = self._gauge("medallion_cold_rows", "Rows in the current snapshot")
        self.files = self._gauge("medallion_cold_files", "Files in the current snapshot")
        self.bytes = self._gauge("medallion_cold_bytes", "Bytes in the current snapshot")
        self.held = self._gauge("medallion_gate_held_partitions", "Expired hot partitions not confirmed by Iceberg")
        self.compacted = self._counter("medallion_offload_compacted_files", "Small files merged into larger ones")
        self.gave_way = self._counter("medallion_offload_compaction_conflicts", "Merges that gave way to an offload")
        self.expired = self._counter("medallion_offload_expired_snapshots", "Snapshots expired")
        self.removed = self._counter("medallion_offload_removed_files", "Files removed that nothing named")
        self.dropped = self._counter("medallion_gate_dropped_partitions", "Hot partitions dropped")

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, ["table"], registry=self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, ["table"], registry=self.registry)

    def observe_run(self, report: OffloadReport) -> None:
        """Count what a run wrote."""
        self.runs.labels("ok").inc()
        self.seconds.observe(report.seconds)
        self.last_success.set_to_current_time()
        for part in report.slices:
            if part.outcome == "rebuilt":
                self.rebuilt.labels(part.table).inc()
            if part.outcome in {"written", "rebuilt"}:
                self.written.labels(part.table).inc(part.rows)

    def observe_status(self, tables: Sequence[TableStatus]) -> None:
        """Set the progress and size of each table."""
        self.tables = tuple(tables)
        for table in tables:
            self.lag.labels(table.table).set(table.lag_seconds)
            self.pending.labels(table.table).set(table.pending)
            if table.complete_until is not None:
                self.complete.labels(table.table).set(table.complete_until.timestamp())
            self.rows.labels(table.table).set(table.rows)
            self.files.labels(table.table).set(table.files)
            self.bytes.labels(table.table).set(table.bytes)

    def observe_compaction(self, tables: Iterable[Compaction]) -> None:
        """Count what was merged."""
        for table in tables:
            self.compacted.labels(table.table).inc(table.files)
            self.gave_way.labels(table.table).inc(table.conflicts)

    def observe_maintenance(self, tables: Iterable[TableMaintenance]) -> None:
        """Count what expired and what was removed."""
        for table in tables:
            self.expired.labels(table.table).inc(table.expired_snapshots)
            self.removed.labels(table.table).inc(table.removed_files)
