"""The Faust app: Bronze topic in, Silver, duplicates and dead letters out, offsets committed when all are durable."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import faust
import structlog

from config.disks import DiskMetrics, local_folder
from config.settings import Settings
from silver_processor.batching.pace import Pace
from silver_processor.batching.plan import Range
from silver_processor.batching.turns import Inserter
from silver_processor.group.assignment import IncompleteAssignmentError, WholeAssignor, own_url
from silver_processor.group.backlog import outsider, places
from silver_processor.group.transport import EXIT_UNRECOVERABLE, QuickTransport, credentials
from silver_processor.inserts.aliases import Homes
from silver_processor.inserts.dead_letters import DeadLetterQueue
from silver_processor.inserts.delivery import Delivery
from silver_processor.inserts.intent import Journal
from silver_processor.inserts.partition import Lanes, Partition
from silver_processor.inserts.rulebook import RuleBook
from silver_processor.inserts.sink import Outcome, Sink
from silver_processor.inserts.store import Store
from silver_processor.metrics import Metrics, serve
from silver_processor.ownership import Escalation, Ownership
from silver_processor.retry import Patience, StoppedError
from silver_processor.seen.index import SeenTrades

# Messages, not rows: a message holds thousands of rows, and those that wait are held in memory.
_BUFFERED_MESSAGES = 64
# While one batch is inserted the next is gathered, and a third may begin.
_WAITING_BATCHES = 2
_FETCH_BYTES = 8 * 2**20
# The in-memory broker's producers wait for what is committed (`Pacer`): rarer commits slow a full pipeline.
_COMMIT_SECONDS = 0.25
_HEARTBEATS_A_SESSION = 6
# An idle worker looks at its symbols file this often, a busy one before every batch.
_RULES_SECONDS = 1.0
# The group's leader learns of new partitions within the first; every worker looks for ones without an owner as often
# as the second says.
_METADATA_SECONDS = 10.0
_OWNERS_SECONDS = 5.0


class _App(faust.App):  # type: ignore[misc]
    """A Faust app that can be asked and watched before its group has given it anything."""

    begin: Callable[[], Awaitable[None]]

    async def on_first_start(self) -> None:
        """Called before anything else starts; tasks and timers come after the first assignment only.

        Faust makes folders for its tables here. There are none, and a worker that is killed leaves nothing behind.
        """
        await self.begin()


class SilverWorker:
    """Owns the app, the connections and the state of the partitions assigned.

    Raises:
        RegistryError: the symbols file cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._log = structlog.get_logger()
        self._stop = threading.Event()
        patience = Patience(self._stop)
        self._store = Store(settings, patience)
        self.metrics = Metrics()
        folder = local_folder(settings.iceberg_warehouse)
        self.metrics.registry.register(DiskMetrics({"warehouse": folder} if folder is not None else {}))
        shards = settings.bronze_shards
        self._rules = RuleBook(settings.symbols_file, self._store, self.metrics.rules_broken.set, shards=shards)
        delivery = Delivery(settings, patience)
        self._sink = Sink(
            settings.bronze_topic,
            self._rules,
            self._store,
            DeadLetterQueue(settings.dlq_topic, delivery),
            patience,
            Homes(settings.bronze_topic, shards, self._store, delivery),
        )
        self._lanes = Lanes(
            decode=ThreadPoolExecutor(1, thread_name_prefix="decode"),
            insert=ThreadPoolExecutor(1, thread_name_prefix="insert"),
        )
        self._partitions: dict[int, Partition] = {}
        self._seen = SeenTrades(self._store.in_silver)
        self._runner: Any = None
        self._inserter = Inserter(
            pace=Pace(
                small_rows=settings.silver_small_rows,
                gap_s=settings.silver_small_gap_ms / 1000,
                longest_wait_s=settings.silver_longest_wait_ms / 1000,
            ),
            waiting_limit=_WAITING_BATCHES * settings.silver_merge_rows,
            clock=time.monotonic,
            between=self._refresh_rules,
            queues=self._queues,
        )
        self.app = self._build_app()
        outside = outsider(settings, settings.silver_consumer_group)
        self._ownership = Ownership(
            settings.bronze_topic,
            owned=lambda: self.app.assignor.owned(settings.bronze_topic),
            measure=lambda: places(outside, [settings.bronze_topic]),
            metrics=self.metrics,
            escalation=Escalation(settings.silver_unowned_limit_s),
            clock=time.monotonic,
            rejoin=self._join_again,
            end=lambda: os._exit(EXIT_UNRECOVERABLE),
        )
        self._journal = Journal(self.app, settings.bronze_topic, self._rules)

    def _build_app(self) -> Any:
        settings = self._settings
        servers = settings.kafka_bootstrap_servers.split(",")
        session_seconds = settings.silver_session_timeout_ms / 1000
        app = _App(
            settings.silver_consumer_group,
            broker=[f"kafka://{server.strip()}" for server in servers],
            broker_credentials=credentials(settings),
            store="memory://",
            web_enabled=False,
            canonical_url=own_url(),
            PartitionAssignor=WholeAssignor,
            consumer_metadata_max_age_ms=int(_METADATA_SECONDS * 1000),
            topic_disable_leader=True,
            topic_allow_declare=False,
            broker_commit_interval=_COMMIT_SECONDS,
            broker_commit_every=1_000,
            consumer_auto_offset_reset="earliest",
            consumer_max_fetch_size=_FETCH_BYTES,
            broker_session_timeout=session_seconds,
            broker_heartbeat_interval=session_seconds / _HEARTBEATS_A_SESSION,
            stream_buffer_maxsize=_BUFFERED_MESSAGES,
            # A partition that waits for ClickHouse is no reason to leave the group.
            broker_max_poll_interval=86_400.0,
            stream_recovery_delay=0.0,
        )
        app.assignor.refused = self._refused
        app.transport = QuickTransport(app.conf.broker_consumer, app)
        topic = app.topic(settings.bronze_topic, value_type=bytes, value_serializer="raw", key_serializer="raw")
        app.agent(topic, name="silver")(self._agent)
        app.on_partitions_assigned.connect(self._on_assigned, weak=False)
        app.on_partitions_revoked.connect(self._on_revoked, weak=False)
        app.on_before_shutdown.connect(self._on_shutdown, weak=False)
        app.begin = self._begin
        app.task(self._insert)
        app.timer(interval=_RULES_SECONDS)(self._idle)
        app.timer(interval=_RULES_SECONDS)(self._measure)
        return app

    async def _begin(self) -> None:
        settings = self._settings
        self._runner = await serve(
            self.metrics, lambda: self._ownership.unready, settings.metrics_host, settings.metrics_port
        )
        self.app.add_future(self._ownership.watch(_OWNERS_SECONDS))

    async def _idle(self, *_: Any) -> None:
        # Before every insert the file is looked at anyway; one that waits for ClickHouse would hold this up.
        if not self._inserter.busy:
            await self._refresh_rules()

    async def _refresh_rules(self) -> None:
        """On the thread of the inserts, so between two of them."""
        if self._stop.is_set():
            return
        try:
            await asyncio.get_running_loop().run_in_executor(self._lanes.insert, self._rules.refresh)
        except StoppedError as stopped:
            self._log.info("stopped", reason=str(stopped))
            return
        self.metrics.in_force(self._rules.current.version)

    async def _on_revoked(self, _app: Any, revoked: Any, **_: Any) -> None:
        self._log.info(
            "partitions revoked", topic=self._settings.bronze_topic, partitions=sorted(tp.partition for tp in revoked)
        )
        self._ownership.revoked()
        self._reset()

    async def _on_assigned(self, _app: Any, assigned: Any, **_: Any) -> None:
        self._log.info(
            "partitions assigned", topic=self._settings.bronze_topic, partitions=sorted(tp.partition for tp in assigned)
        )
        self._ownership.assigned()

    def _reset(self) -> None:
        for partition in self._partitions.values():
            partition.revoked = True
        self._partitions = {}
        # Another worker may have filled Silver meanwhile.
        self._seen = SeenTrades(self._store.in_silver)
        self._inserter.wake()

    async def _on_shutdown(self, _app: Any, **_: Any) -> None:
        self._stop.set()
        self._inserter.stop()
        self._ownership.close()
        for executor in (self._lanes.decode, self._lanes.insert):
            await asyncio.get_running_loop().run_in_executor(None, executor.shutdown)
        if self._runner is not None:
            await self._runner.cleanup()

    async def _agent(self, stream: Any) -> None:
        """Decode what arrives, while `_insert` makes durable what came before."""
        async for event in stream.noack().events():
            # Before anything is waited for: the event is of the assignment that is in force now.
            partition = self._partition(event.message.partition)
            try:
                await self._inserter.room()
                if not partition.revoked:
                    await partition.take(event)
            except Exception as error:
                await self._fail(error)
                raise
            self._inserter.wake()

    async def _insert(self) -> None:
        try:
            await self._inserter.run()
        except StoppedError as stopped:
            self._log.info("stopped", reason=str(stopped))
        except Exception as error:
            await self._fail(error)
            raise

    async def _fail(self, error: Exception) -> None:
        """Faust would log and go on past the events that are held: start over from the commit."""
        if self._stop.is_set():
            self._log.info("stopped", reason=str(error))
            return
        self._log.error("worker failed", exc_info=error)
        await self.app.crash(error)

    def _refused(self, error: IncompleteAssignmentError) -> None:
        """On the consumer's thread."""
        self.metrics.refused_assignments.inc()
        self._log.warning("assignment refused, joining again", reason=str(error))

    def _join_again(self) -> None:
        self.app.consumer._thread.join_again()

    def _queues(self) -> list[Partition]:
        return list(self._partitions.values())

    def _partition(self, number: int) -> Partition:
        if number not in self._partitions:
            self._partitions[number] = Partition(
                topic=self._settings.bronze_topic,
                number=number,
                seen=self._seen,
                recorder=self._journal,
                writer=self._sink,
                merge_rows=self._settings.silver_merge_rows,
                lanes=self._lanes,
                acknowledge=self._acknowledge,
                observe=self._observe,
                clock=time.monotonic,
            )
        return self._partitions[number]

    def _acknowledge(self, event: Any) -> None:
        event.ack()
        self.metrics.age_seconds.observe(max(time.time() - event.message.timestamp, 0))

    def _observe(self, partition: int, planned: Range, outcome: Outcome) -> None:
        self.metrics.observe(outcome)
        self._log.debug(
            "inserted",
            topic=self._settings.bronze_topic,
            partition=partition,
            offset=planned.first,
            last_offset=planned.last,
            rows=outcome.rows,
            fresh=outcome.fresh,
            again=outcome.again,
            reasons=outcome.reasons,
        )

    async def _measure(self, *_: Any) -> None:
        self.metrics.waiting_rows.set(sum(partition.waiting_rows for partition in self._partitions.values()))
        self.metrics.index_bytes.set(self._seen.memory_bytes)
        self.metrics.index_ids.set(self._seen.ids)
        self.metrics.index_markets.set(self._seen.markets)
        for place in self.app.consumer.assignment():
            mark = self.app.consumer.highwater(place)
            done = self.app.consumer._committed_offset.get(place)
            if mark is not None:
                self.metrics.lag.labels(place.partition).set(max(mark - (done or 0), 0))
