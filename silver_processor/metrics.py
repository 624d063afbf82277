"""Prometheus metrics of the Silver processor, and the HTTP port that shows them."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from silver_processor.inserts.sink import Outcome
from silver_processor.latency_histogram import LatencyHistogram

_ROWS = (1, 10, 100, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000)
_SECONDS = (0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.2, 0.35, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """One registry a worker."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.rows = Counter("medallion_silver_rows", "Bronze rows judged", registry=self.registry)
        self.valid = Counter("medallion_silver_valid", "Rows inserted into Silver", registry=self.registry)
        self.duplicates = Counter("medallion_silver_duplicates", "Rows Silver held already", registry=self.registry)
        self.not_compared = Counter(
            "medallion_silver_not_compared",
            "Of these, those of which nobody knows whether they say the same: the trade's row has left Silver",
            registry=self.registry,
        )
        self.sent_home = Counter(
            "medallion_silver_sent_home",
            "Rows under another name of a market, sent to its shard",
            registry=self.registry,
        )
        self.rejects = Counter("medallion_silver_rejects", "Rows rejected", ["reason"], registry=self.registry)
        self.batch_rows = Histogram(
            "medallion_silver_batch_rows", "Rows an insert", buckets=_ROWS, registry=self.registry
        )
        self.insert_seconds = Histogram(
            "medallion_silver_insert_seconds", "Duration of the Silver insert", buckets=_SECONDS, registry=self.registry
        )
        self.age_seconds = Histogram(
            "medallion_silver_age_seconds",
            "Bronze message's publication to its offset released for commit",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.lag = Gauge(
            "medallion_silver_lag_messages", "Bronze messages not processed", ["partition"], registry=self.registry
        )
        self.unowned_partitions = Gauge(
            "medallion_silver_unowned_partitions",
            "Partitions of Bronze that no worker owns, as far as this one knows",
            registry=self.registry,
        )
        self.unowned_messages = Gauge(
            "medallion_silver_unowned_messages", "Bronze messages that wait in them", registry=self.registry
        )
        self.refused_assignments = Counter(
            "medallion_silver_refused_assignments",
            "Assignments refused because a partition would have had no owner",
            registry=self.registry,
        )
        self.rules = Gauge(
            "medallion_silver_rules", "1: new batches are judged by this version", ["version"], registry=self.registry
        )
        self.rules_broken = Gauge(
            "medallion_silver_rules_broken",
            "1: the symbols file cannot be used, older rules are in force",
            registry=self.registry,
        )
        self.waiting_rows = Gauge(
            "medallion_silver_waiting_rows", "Bronze rows decoded and in no insert yet", registry=self.registry
        )
        self.index_bytes = Gauge("medallion_silver_index_bytes", "Memory of the seen ids", registry=self.registry)
        self.index_ids = Gauge("medallion_silver_index_ids", "Seen ids in the index", registry=self.registry)
        self.index_markets = Gauge("medallion_silver_index_markets", "Markets in the index", registry=self.registry)

        self.latency = LatencyHistogram()
        self.registry.register(self.latency)

    def in_force(self, rules_version: str) -> None:
        """Show the version that judges new batches."""
        self.rules.clear()
        self.rules.labels(rules_version).set(1)

    def observe(self, outcome: Outcome) -> None:
        """Count one insert."""
        self.rows.inc(outcome.rows)
        self.valid.inc(outcome.fresh)
        self.duplicates.inc(outcome.again)
        self.not_compared.inc(outcome.not_compared)
        self.sent_home.inc(outcome.sent_home)
        for reason, count in outcome.reasons.items():
            self.rejects.labels(reason).inc(count)
        self.batch_rows.observe(outcome.rows)
        self.insert_seconds.observe(outcome.insert_seconds)
        self.latency.add(outcome.latencies)


async def serve(metrics: Metrics, unready: Callable[[], str], host: str, port: int) -> web.AppRunner:
    """Serve `/metrics`, `/healthz` (alive) and `/readyz`: 200, or 503 with the reason that `unready` gives.

    Raises:
        OSError: the port is taken.
    """

    async def show(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def is_ready(_: web.Request) -> web.Response:
        reason = unready()
        return web.Response(status=503, text=f"{reason}\n") if reason else web.Response(text="ready\n")

    application = web.Application()
    application.add_routes([web.get("/metrics", show), web.get("/healthz", alive), web.get("/readyz", is_ready)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
