"""The Silver worker. It reads the Bronze topic, writes Silver, duplicates and dead letters, then commits offsets."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from aiohttp import web
from mode import Service

from config.process.disk_metrics import DiskMetrics
from config.process.disks import local_folder
from config.settings import Settings
from silver_processor.batching.ranges import OffsetRange
from silver_processor.batching.scheduler import InsertScheduler, InsertTiming
from silver_processor.clickhouse import ClickHouse
from silver_processor.group.app import SilverApp, silver_app, worker_process
from silver_processor.group.backlog import backlog, group_observer
from silver_processor.group.membership import EXIT_UNRECOVERABLE, GroupMembership, IncompleteAssignmentError
from silver_processor.inserts.alias_routing import AliasRouting, BronzeShards
from silver_processor.inserts.dead_letters import DeadLetterQueue, DeadLetterWriter, RawMessages
from silver_processor.inserts.intent import InsertIntents
from silver_processor.inserts.partition import Partition, WorkerThreads
from silver_processor.inserts.producer import ConfirmedProducer
from silver_processor.inserts.rulebook import RuleBook, RulesArchive
from silver_processor.inserts.writer import InsertOutcome, SilverWriter
from silver_processor.metrics import SilverMetrics, serve
from silver_processor.ownership import Escalation, Ownership
from silver_processor.retry import RetryPolicy, WorkerStoppedError
from silver_processor.seen.held_trades import HeldTrades
from silver_processor.seen.index import SeenTrades

# Besides the insert under way, so many inserts of `silver_merge_rows` rows may wait.
_WAITING_BATCHES = 2
# An idle worker checks its symbols file this often. A busy one checks it before every insert.
_RULES_SECONDS = 1.0
_METRICS_SECONDS = 1.0
# Every worker checks this often whether partitions have no owner.
_OWNERS_SECONDS = 5.0


def build_worker(settings: Settings) -> SilverWorker:
    """Build a worker from its parts. Nothing is connected yet.

    Raises:
        RegistryError: the symbols file cannot be used.
    """
    stop = threading.Event()
    retry = RetryPolicy(stop)
    metrics = SilverMetrics()
    folder = local_folder(settings.iceberg_warehouse)
    metrics.registry.register(DiskMetrics({"warehouse": folder} if folder is not None else {}))
    threads = WorkerThreads(
        decode=ThreadPoolExecutor(1, thread_name_prefix="decode"),
        insert=ThreadPoolExecutor(1, thread_name_prefix="insert"),
    )

    clickhouse = ClickHouse(settings, retry)
    producer = ConfirmedProducer(settings, retry)
    held = HeldTrades(clickhouse)
    rules = RuleBook(
        settings.symbols_file, RulesArchive(clickhouse), metrics.rules_broken.set, shards=settings.bronze_shards
    )
    dead_letters = DeadLetterWriter(
        settings.bronze_topic, RawMessages(clickhouse), DeadLetterQueue(settings.dlq_topic, producer), retry
    )
    routing = AliasRouting(settings.bronze_topic, settings.bronze_shards, BronzeShards(clickhouse), producer)
    writer = SilverWriter(settings.bronze_topic, rules, clickhouse, held, dead_letters, retry, routing)

    app = silver_app(settings, RefusedAssignments(metrics).add)
    membership = GroupMembership(app)
    intents = InsertIntents(membership, settings.bronze_topic, rules)
    partitions = AssignedPartitions(settings, intents, writer, held, threads, metrics, membership.drop)
    rules_refresh = RulesRefresh(rules, threads, metrics, stop)
    scheduler = InsertScheduler(
        timing=InsertTiming(
            small_rows=settings.silver_small_rows,
            gap_s=settings.silver_small_gap_ms / 1000,
            longest_wait_s=settings.silver_longest_wait_ms / 1000,
        ),
        waiting_limit=_WAITING_BATCHES * settings.silver_merge_rows,
        clock=time.monotonic,
        before_each_insert=rules_refresh.run,
        queues=partitions.all,
    )
    observer = group_observer(settings, settings.silver_consumer_group)
    ownership = Ownership(
        settings.bronze_topic,
        owned=lambda: app.assignor.owned(settings.bronze_topic),
        measure=lambda: backlog(observer, [settings.bronze_topic]),
        metrics=metrics,
        escalation=Escalation(settings.silver_unowned_limit_s),
        clock=time.monotonic,
        rejoin=membership.join_again,
        end=lambda: os._exit(EXIT_UNRECOVERABLE),
    )
    health = Health(ownership, metrics, settings.metrics_host, settings.metrics_port)
    return SilverWorker(
        settings, app, membership, partitions, scheduler, rules_refresh, ownership, threads, metrics, health, stop
    )


class RefusedAssignments:
    """Counts and logs the assignments that this worker has refused as its group's leader."""

    def __init__(self, metrics: SilverMetrics) -> None:
        self._metrics = metrics
        self._log = structlog.get_logger()

    def add(self, error: IncompleteAssignmentError) -> None:
        """Count one. Runs on the consumer's thread."""
        self._metrics.refused_assignments.inc()
        self._log.warning("assignment refused, joining again", reason=str(error))


class Health(Service):  # type: ignore[misc]
    """Serves the metrics and the worker's health, and watches for partitions without an owner.

    It starts before the app: Faust starts an app's own tasks and timers only after the first assignment.
    """

    def __init__(self, ownership: Ownership, metrics: SilverMetrics, host: str, port: int) -> None:
        super().__init__()
        self._ownership, self._metrics, self._host, self._port = ownership, metrics, host, port
        self._server: web.AppRunner | None = None

    async def on_start(self) -> None:
        """Open the port.

        Raises:
            OSError: the port is taken.
        """
        self._server = await serve(self._metrics, lambda: self._ownership.unready, self._host, self._port)
        self.add_future(self._ownership.watch(_OWNERS_SECONDS))

    async def on_stop(self) -> None:
        """Close the port."""
        if self._server is not None:
            await self._server.cleanup()


class RulesRefresh:
    """Loads a changed symbols file. It runs on the insert thread, so never during an insert."""

    def __init__(self, rules: RuleBook, threads: WorkerThreads, metrics: SilverMetrics, stop: threading.Event) -> None:
        self._rules, self._threads, self._metrics, self._stop = rules, threads, metrics, stop
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Load the file if it has changed."""
        if self._stop.is_set():
            return
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads.insert, self._rules.refresh)
        except WorkerStoppedError as stopped:
            self._log.info("stopped", reason=str(stopped))
            return
        self._metrics.in_force(self._rules.current.version)


class AssignedPartitions:
    """The partitions of the current assignment, and the index of seen trades that they share."""

    def __init__(
        self,
        settings: Settings,
        intents: InsertIntents,
        writer: SilverWriter,
        held: HeldTrades,
        threads: WorkerThreads,
        metrics: SilverMetrics,
        drop: Callable[[Any], object],
    ) -> None:
        self._settings = settings
        self._drop = drop
        self._intents = intents
        self._writer = writer
        self._held = held
        self._threads = threads
        self._metrics = metrics
        self._log = structlog.get_logger()
        self._partitions: dict[int, Partition] = {}
        self._seen = SeenTrades(held.overlapping)

    def all(self) -> list[Partition]:
        """The partitions that have had a message since the assignment."""
        return list(self._partitions.values())

    def get(self, number: int) -> Partition:
        """The partition with this number, which is made at its first message."""
        if number not in self._partitions:
            self._partitions[number] = Partition(
                topic=self._settings.bronze_topic,
                number=number,
                seen=self._seen,
                intents=self._intents,
                writer=self._writer,
                merge_rows=self._settings.silver_merge_rows,
                threads=self._threads,
                acknowledge=self._acknowledge,
                drop=self._drop,
                observe=self._observe,
                clock=time.monotonic,
            )
        return self._partitions[number]

    def reset(self) -> None:
        """Revoke all partitions and forget the seen trades: other workers may insert trades of theirs from now on."""
        for partition in self._partitions.values():
            partition.revoke()
        self._partitions = {}
        self._seen = SeenTrades(self._held.overlapping)

    def measure(self) -> None:
        """Set the gauges of waiting rows and of the index."""
        self._metrics.waiting_rows.set(sum(partition.waiting_rows for partition in self._partitions.values()))
        self._metrics.index_bytes.set(self._seen.memory_bytes)
        self._metrics.index_ids.set(self._seen.ids)
        self._metrics.index_markets.set(self._seen.markets)

    def _acknowledge(self, event: Any) -> None:
        event.ack()
        self._metrics.age_seconds.observe(max(time.time() - event.message.timestamp, 0))

    def _observe(self, partition: int, planned: OffsetRange, outcome: InsertOutcome) -> None:
        self._metrics.observe(outcome)
        self._log.debug(
            "inserted",
            topic=self._settings.bronze_topic,
            partition=partition,
            offset=planned.first,
            last_offset=planned.last,
            rows=outcome.rows,
            fresh=outcome.fresh,
            duplicates=outcome.duplicates,
            reasons=outcome.reasons,
        )


class SilverWorker:
    """Connects the Faust app's events to the parts of the worker."""

    def __init__(
        self,
        settings: Settings,
        app: SilverApp,
        membership: GroupMembership,
        partitions: AssignedPartitions,
        scheduler: InsertScheduler,
        rules_refresh: RulesRefresh,
        ownership: Ownership,
        threads: WorkerThreads,
        metrics: SilverMetrics,
        health: Health,
        stop: threading.Event,
    ) -> None:
        self._app = app
        self._settings = settings
        self._membership = membership
        self._partitions = partitions
        self._scheduler = scheduler
        self._rules_refresh = rules_refresh
        self._ownership = ownership
        self._threads = threads
        self._metrics = metrics
        self._health = health
        self._stop = stop
        self._log = structlog.get_logger()
        self._connect()

    def run(self) -> None:
        """Consume until SIGTERM, then exit the process."""
        worker_process(self._app, self._health).execute_from_commandline()

    def _connect(self) -> None:
        # Faust takes handlers only from an app that exists, so the app holds methods of this worker.
        app, topic_name = self._app, self._settings.bronze_topic
        topic = app.topic(topic_name, value_type=bytes, value_serializer="raw", key_serializer="raw")
        app.agent(topic, name="silver")(self._agent)
        app.on_partitions_assigned.connect(self._on_assigned, weak=False)
        app.on_partitions_revoked.connect(self._on_revoked, weak=False)
        app.on_before_shutdown.connect(self._on_shutdown, weak=False)
        app.task(self._insert)
        app.timer(interval=_RULES_SECONDS)(self._refresh_when_idle)
        app.timer(interval=_METRICS_SECONDS)(self._measure)

    async def _agent(self, stream: Any) -> None:
        """Decode the messages that arrive, while `_insert` makes earlier ones durable."""
        async for event in stream.noack().events():
            # Before the first await: the event belongs to the current assignment, which may change during an await.
            partition = self._partitions.get(event.message.partition)
            try:
                await self._scheduler.wait_for_room()
                await partition.take(event)
            except Exception as error:
                await self._fail(error)
                raise
            self._scheduler.wake()

    async def _insert(self) -> None:
        try:
            await self._scheduler.run()
        except WorkerStoppedError as stopped:
            self._log.info("stopped", reason=str(stopped))
        except Exception as error:
            await self._fail(error)
            raise

    async def _fail(self, error: Exception) -> None:
        """Crash the app, so that it starts again from the committed offsets. Faust would skip the taken events."""
        if self._stop.is_set():
            self._log.info("stopped", reason=str(error))
            return
        self._log.error("worker failed", exc_info=error)
        await self._app.crash(error)

    async def _refresh_when_idle(self, *_: Any) -> None:
        # A busy worker refreshes before every insert. Here it would wait behind an insert that waits for ClickHouse.
        if not self._scheduler.busy:
            await self._rules_refresh.run()

    async def _measure(self, *_: Any) -> None:
        self._partitions.measure()
        for partition, messages in self._membership.lag().items():
            self._metrics.lag.labels(partition).set(messages)

    async def _on_assigned(self, _app: Any, assigned: Any, **_: Any) -> None:
        numbers = sorted(place.partition for place in assigned)
        self._log.info("partitions assigned", topic=self._settings.bronze_topic, partitions=numbers)
        self._ownership.assigned()

    async def _on_revoked(self, _app: Any, revoked: Any, **_: Any) -> None:
        numbers = sorted(place.partition for place in revoked)
        self._log.info("partitions revoked", topic=self._settings.bronze_topic, partitions=numbers)
        self._ownership.revoked()
        self._partitions.reset()
        self._scheduler.wake()

    async def _on_shutdown(self, _app: Any, **_: Any) -> None:
        self._stop.set()
        self._scheduler.stop()
        self._ownership.close()
        for executor in (self._threads.decode, self._threads.insert):
            await asyncio.get_running_loop().run_in_executor(None, executor.shutdown)
