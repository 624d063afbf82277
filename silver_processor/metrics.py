"""The Prometheus metrics of a Silver worker, and the HTTP server that shows them and the worker's health."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from config.process import metrics_server
from schemas.reasons import Reason
from silver_processor.core.latency import BOUNDS, Latency
from silver_processor.inserts.writer import InsertOutcome

LATENCY = "medallion_trade_latency_seconds"
_BUCKETS = [*map(str, BOUNDS), "+Inf"]
_ROWS = (1, 10, 100, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000)
_SECONDS = (0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.2, 0.35, 0.5, 1, 2.5, 5, 10, 30)


class SilverMetrics:
    """The metrics of one worker, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.rows = Counter("medallion_silver_rows", "Bronze rows validated", registry=self.registry)
        self.valid = Counter("medallion_silver_valid", "Rows inserted into Silver", registry=self.registry)
        self.duplicates = Counter("medallion_silver_duplicates", "Rows that Silver has already", registry=self.registry)
        self.not_compared = Counter(
            "medallion_silver_not_compared",
            "Duplicates not compared, as the row of their trade has left Silver",
            registry=self.registry,
        )
        self.routed = Counter(
            "medallion_silver_alias_routed",
            "Rows under an alias of a market, sent to the partition of its first name",
            registry=self.registry,
        )
        # Dashboards and alerts outside this repository may still read the name of 0.2.
        self.routed_old_name = Counter(
            "medallion_silver_sent_home", "Old name of medallion_silver_alias_routed_total", registry=self.registry
        )
        self.rejects = Counter("medallion_silver_rejects", "Rows rejected", ["reason"], registry=self.registry)
        # Each reason begins with 0. Prometheus sees no increase in a counter's first value, so it would miss a burst.
        for reason in Reason:
            self.rejects.labels(reason)
        self.batch_rows = Histogram(
            "medallion_silver_batch_rows", "Rows an insert", buckets=_ROWS, registry=self.registry
        )
        self.insert_seconds = Histogram(
            "medallion_silver_insert_seconds", "Duration of the Silver insert", buckets=_SECONDS, registry=self.registry
        )
        self.age_seconds = Histogram(
            "medallion_silver_age_seconds",
            "From a Bronze message's publication until its offset may be committed",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.lag = Gauge(
            "medallion_silver_lag_messages", "Bronze messages not processed", ["partition"], registry=self.registry
        )
        self.unowned_partitions = Gauge(
            "medallion_silver_unowned_partitions",
            "Partitions of Bronze without an owner, as far as this worker knows",
            registry=self.registry,
        )
        self.unowned_messages = Gauge(
            "medallion_silver_unowned_messages",
            "Bronze messages that wait in partitions without an owner",
            registry=self.registry,
        )
        self.refused_assignments = Counter(
            "medallion_silver_refused_assignments",
            "Assignments refused because they left a partition without an owner",
            registry=self.registry,
        )
        self.rules = Gauge(
            "medallion_silver_rules", "1: the version of the rules for new batches", ["version"], registry=self.registry
        )
        self.rules_broken = Gauge(
            "medallion_silver_rules_broken",
            "1: the symbols file cannot be used, the older rules stay in force",
            registry=self.registry,
        )
        self.waiting_rows = Gauge(
            "medallion_silver_waiting_rows", "Decoded Bronze rows that wait for an insert", registry=self.registry
        )
        self.index_bytes = Gauge("medallion_silver_index_bytes", "Memory of the seen ids", registry=self.registry)
        self.index_ids = Gauge("medallion_silver_index_ids", "Seen ids in the index", registry=self.registry)
        self.index_markets = Gauge("medallion_silver_index_markets", "Markets in the index", registry=self.registry)

        self.latency = LatencyHistogram()
        self.registry.register(self.latency)

    def in_force(self, rules_version: str) -> None:
        """Show the rules version of the next inserts."""
        self.rules.clear()
        self.rules.labels(rules_version).set(1)

    def observe(self, outcome: InsertOutcome) -> None:
        """Count one insert."""
        self.rows.inc(outcome.rows)
        self.valid.inc(outcome.fresh)
        self.duplicates.inc(outcome.duplicates)
        self.not_compared.inc(outcome.not_compared)
        self.routed.inc(outcome.routed)
        self.routed_old_name.inc(outcome.routed)
        for reason, count in outcome.reasons.items():
            self.rejects.labels(reason).inc(count)
        self.batch_rows.observe(outcome.rows)
        self.insert_seconds.observe(outcome.insert_seconds)
        self.latency.add(outcome.latencies)


class LatencyHistogram(Collector):
    """`medallion_trade_latency_seconds` by exchange and stage (`silver_processor.core.latency.STAGES`).

    The latencies of a whole insert are added at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], npt.NDArray[np.int64]] = {}
        self._seconds: dict[tuple[str, str], float] = {}

    def add(self, latencies: Iterable[Latency]) -> None:
        """Count the latencies of one insert."""
        with self._lock:
            for latency in latencies:
                key = (latency.exchange, latency.stage)
                self._counts[key] = self._counts.get(key, 0) + latency.counts
                self._seconds[key] = self._seconds.get(key, 0.0) + latency.seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The metric with cumulative counts, as Prometheus reads it."""
        family = HistogramMetricFamily(
            LATENCY, "From the exchange's trade time through each layer to the candle", labels=["exchange", "stage"]
        )
        with self._lock:
            for key, counts in self._counts.items():
                cumulative = zip(_BUCKETS, np.cumsum(counts).tolist(), strict=True)
                family.add_metric(list(key), list(cumulative), self._seconds[key])
        yield family


async def serve(metrics: SilverMetrics, unready: Callable[[], str], host: str, port: int) -> web.AppRunner:
    """Serve `/metrics`, `/healthz` (alive) and `/readyz`: 200, or 503 with the reason that `unready` gives.

    Raises:
        OSError: the port is taken.
    """

    def readiness() -> web.Response:
        reason = unready()
        return web.Response(status=503, text=f"{reason}\n") if reason else web.Response(text="ready\n")

    answers = {"/healthz": lambda: web.Response(text="ok\n"), "/readyz": readiness}
    runner, _ = await metrics_server.serve(metrics.registry, answers, host, port)
    return runner
