"""The Faust app: Bronze topic in, Silver, duplicates and dead letters out, offsets committed when all are durable."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import faust
import structlog

from config.settings import Settings
from silver_processor.dead_letters import DeadLetterQueue
from silver_processor.journal import Journal
from silver_processor.metrics import Metrics, serve
from silver_processor.partition import Partition
from silver_processor.patience import Patience, StoppedError
from silver_processor.plan import Range
from silver_processor.rulebook import RuleBook
from silver_processor.seen import SeenTrades
from silver_processor.sink import Outcome, Sink
from silver_processor.store import Store
from silver_processor.transport import QuickTransport, credentials

# Messages, not rows: a message holds thousands of rows, and those that wait are held in memory.
_MESSAGES_A_TAKE = 64
_BUFFERED_MESSAGES = 64
_FETCH_BYTES = 8 * 2**20
_COMMIT_SECONDS = 0.1
_HEARTBEATS_A_SESSION = 6
# An idle worker looks at its symbols file this often, a busy one before every batch.
_RULES_SECONDS = 1.0


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
        self._rules = RuleBook(settings.symbols_file, self._store, self.metrics.rules_broken.set)
        letters = DeadLetterQueue(settings, patience)
        self._sink = Sink(settings.bronze_topic, self._rules, self._store, letters, patience)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="silver")
        self._partitions: dict[int, Partition] = {}
        self._seen = SeenTrades(self._store.in_silver)
        self._assigned = False
        self._runner: Any = None
        self.app = self._build_app()
        self._journal = Journal(self.app, settings.bronze_topic, self._rules)

    def _build_app(self) -> Any:
        settings = self._settings
        servers = settings.kafka_bootstrap_servers.split(",")
        session_seconds = settings.silver_session_timeout_ms / 1000
        app = faust.App(
            settings.silver_consumer_group,
            broker=[f"kafka://{server.strip()}" for server in servers],
            broker_credentials=credentials(settings),
            store="memory://",
            datadir=tempfile.mkdtemp(prefix="medallion-silver-"),
            web_enabled=False,
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
        app.transport = QuickTransport(app.conf.broker_consumer, app)
        topic = app.topic(settings.bronze_topic, value_type=bytes, value_serializer="raw", key_serializer="raw")
        app.agent(topic, name="silver")(self._agent)
        app.on_partitions_assigned.connect(self._on_assigned, weak=False)
        app.on_partitions_revoked.connect(self._on_revoked, weak=False)
        app.on_before_shutdown.connect(self._on_shutdown, weak=False)
        app.task(self._serve)
        app.timer(interval=_RULES_SECONDS)(self._refresh_rules)
        return app

    async def _serve(self) -> None:
        settings = self._settings
        self._runner = await serve(self.metrics, lambda: self._assigned, settings.metrics_host, settings.metrics_port)

    async def _refresh_rules(self, *_: Any) -> None:
        """On the thread of the inserts, so between two of them."""
        if self._stop.is_set():
            return
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._rules.refresh)
        except StoppedError as stopped:
            self._log.info("stopped", reason=str(stopped))
            return
        self.metrics.in_force(self._rules.current.version)

    async def _on_revoked(self, _app: Any, revoked: Any, **_: Any) -> None:
        self._log.info(
            "partitions revoked", topic=self._settings.bronze_topic, partitions=sorted(tp.partition for tp in revoked)
        )
        self._reset()

    async def _on_assigned(self, _app: Any, assigned: Any, **_: Any) -> None:
        self._log.info(
            "partitions assigned", topic=self._settings.bronze_topic, partitions=sorted(tp.partition for tp in assigned)
        )
        self._reset()
        self._assigned = True

    def _reset(self) -> None:
        for partition in self._partitions.values():
            partition.revoked = True
        self._partitions = {}
        # Another worker may have filled Silver meanwhile.
        self._seen = SeenTrades(self._store.in_silver)

    async def _on_shutdown(self, _app: Any, **_: Any) -> None:
        self._stop.set()
        await asyncio.get_running_loop().run_in_executor(None, self._executor.shutdown)
        if self._runner is not None:
            await self._runner.cleanup()

    async def _agent(self, stream: Any) -> None:
        within = max(self._settings.silver_merge_ms, 1) / 1000
        async for events in stream.noack().noack_take(_MESSAGES_A_TAKE, within=within):
            try:
                await self._refresh_rules()
                for event in events:
                    await self._partition(event.message.partition).take(event)
                for partition in list(self._partitions.values()):
                    await partition.process()
            except StoppedError as stopped:
                self._log.info("stopped", reason=str(stopped))
                return
            except Exception as error:
                # Faust would log and restart the agent past the events it holds: start over from the commit.
                self._log.exception("worker failed")
                await self.app.crash(error)
                raise
            self._measure()

    def _partition(self, number: int) -> Partition:
        if number not in self._partitions:
            self._partitions[number] = Partition(
                topic=self._settings.bronze_topic,
                number=number,
                seen=self._seen,
                recorder=self._journal,
                writer=self._sink,
                merge_rows=self._settings.silver_merge_rows,
                executor=self._executor,
                acknowledge=self._acknowledge,
                observe=self._observe,
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

    def _measure(self) -> None:
        self.metrics.index_bytes.set(self._seen.memory_bytes)
        for place in self.app.consumer.assignment():
            mark = self.app.consumer.highwater(place)
            done = self.app.consumer._committed_offset.get(place)
            if mark is not None:
                self.metrics.lag.labels(place.partition).set(max(mark - (done or 0), 0))
