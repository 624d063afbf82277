"""Feeds one source table: consume, insert with every view behind it, commit when all it led to is delivered."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from deploy.embedded.clickhouse.engine_session import EngineSession
from deploy.embedded.clickhouse.errors import EngineError
from deploy.embedded.clickhouse.kafka.blocks import Block, Partition, block
from deploy.embedded.clickhouse.kafka.catalog import StandIn
from deploy.embedded.clickhouse.kafka.feed import insert_block
from deploy.embedded.clickhouse.kafka.gate import Gate

_DEFAULT_BLOCK_ROWS = 65_536
_DEFAULT_FLUSH_MS = 7_500
_MOST_ROWS = 1_000_000  # confluent_kafka's own limit for one consume()
_BLOCKS_AHEAD = 1
_UNCOMMITTED_BLOCKS = 64
_IDLE_SECONDS = 0.1
_SLICE_SECONDS = 0.01
_BUSY_SLICE_SECONDS = 0.003
_FIRST_BACKOFF, _LAST_BACKOFF = 0.05, 5.0
_STOP_SECONDS = 10.0
_COMMITTED_SECONDS = 5.0
_log = structlog.get_logger(__name__)


@dataclass
class _Uncommitted:
    """Offsets that may be committed once these rounds of the sinks are delivered."""

    offsets: dict[Partition, int]
    epoch: int
    waits: list[Callable[[], bool]]


@dataclass
class Counters:
    """What a source has done since it started; `last_error` is empty once a block went in after it."""

    rows: int = 0
    messages: Counter[Partition] = field(default_factory=Counter)
    missing: Counter[Partition] = field(default_factory=Counter)
    errors: int = 0
    last_error: str = ""

    def failed(self, error: str) -> None:
        """Count an error and keep its text."""
        self.errors += 1
        self.last_error = error


class Source:
    """The consumer of one source table.

    One thread consumes and builds the next block while another inserts this one. A block is what arrived within
    `kafka_flush_interval_ms`, or longer while the one before it is being inserted, at most `kafka_max_block_size`
    messages: small blocks never queue up behind each other. A block that the engine refuses is tried
    again, with
    back-off, until it goes in, as the real engine does; nothing behind it is read meanwhile (`status` shows the error).
    """

    def __init__(
        self,
        stand_in: StandIn,
        session: EngineSession,
        config: Mapping[str, object],
        gate: Gate,
        is_fed: Callable[[], bool],
        delivery: Callable[[], list[Callable[[], bool]]],
    ) -> None:
        """Args:
        stand_in: the table; replace `stand_in` when it is renamed.
        session: for this source alone; closed by `stop`.
        config: of the consumer.
        gate: passed for every block.
        is_fed: whether a view reads the table; asked behind the gate.
        delivery: called after a block went in; gives, for each sink it reached, a test whether that is delivered.
        """
        self.stand_in = stand_in
        self._session, self._gate, self._is_fed, self._delivery = session, gate, is_fed, delivery
        self._consumer = Consumer({**config, "on_commit": self._on_commit, "error_cb": self._on_error})
        self._blocks: queue.Queue[tuple[Block, int]] = queue.Queue(_BLOCKS_AHEAD)
        self._uncommitted: deque[_Uncommitted] = deque()
        self._stopping = threading.Event()
        self._read = threading.Event()
        self._epochs: dict[Partition, int] = {}
        self._epoch = 0
        self._expected: dict[Partition, int] = {}
        self._position: dict[Partition, int] = {}
        self._committed: dict[Partition, int] = {}
        self._counters = Counters()
        self._high: dict[Partition, int] = {}
        self._due: dict[Partition, int] = {}
        self._commit_again = 0.0
        self._pause = threading.Event()  # never set: a clock to wait on
        name = ".".join(stand_in.name)
        self._inserting = threading.Thread(target=self._insert, name=f"insert {name}", daemon=True)
        self._threads = [threading.Thread(target=self._consume, name=f"consume {name}", daemon=True), self._inserting]

    def start(self) -> None:
        """Begin as soon as a view reads the table."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Insert what was consumed, commit what is delivered within seconds, leave the group."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._session.close()

    def status(self) -> dict[str, object]:
        """Counters, and by topic/partition: position, committed, lag, messages, missing.

        `missing` counts offsets that the broker no longer had when they were to be read.
        """
        partitions: dict[str, dict[str, int | None]] = {}
        for partition, position in sorted(self._position.items()):
            committed, high = self._committed.get(partition), self._high.get(partition)
            partitions[f"{partition[0]}/{partition[1]}"] = {
                "position": position,
                "committed": committed,
                "lag": None if high is None else max(high - (committed or 0), 0),
                "messages": self._counters.messages[partition],
                "missing": self._counters.missing[partition],
            }
        return {
            "role": "source",
            "rows": self._counters.rows,
            "errors": self._counters.errors,
            "last_error": self._counters.last_error,
            "uncommitted_blocks": len(self._uncommitted) + self._blocks.qsize(),
            "partitions": partitions,
        }

    def _consume(self) -> None:
        # The client serialises its calls and lets a waiting thread starve: this thread makes them all.
        while not self._stopping.is_set() and not self._is_fed():
            self._stopping.wait(_IDLE_SECONDS)
        table = self.stand_in.table
        if not self._stopping.is_set():
            self._consumer.subscribe(
                list(table.topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
            )
        while not self._stopping.is_set():
            if messages := self._next_messages():
                self._hand_over(block(table.column_names[0], messages))
        self._read.set()
        deadline = time.monotonic() + _STOP_SECONDS
        while (self._inserting.is_alive() or self._uncommitted) and time.monotonic() < deadline:
            self._commit(asynchronous=True)
            self._pause.wait(_SLICE_SECONDS)
        self._commit(asynchronous=False)
        self._consumer.close()

    def _next_messages(self) -> list[Message]:
        """What arrives within the flush interval and until the insert under way is done, at most the rows of a block;
        commits meanwhile."""
        table = self.stand_in.table
        rows = min(table.number("kafka_max_block_size", _DEFAULT_BLOCK_ROWS), _MOST_ROWS)
        now = time.monotonic()
        deadline = now + table.number("kafka_flush_interval_ms", _DEFAULT_FLUSH_MS) / 1000
        messages: list[Message] = []
        while (
            len(messages) < rows and (now < deadline or self._blocks.unfinished_tasks) and not self._stopping.is_set()
        ):
            wait = min(max(deadline - now, _BUSY_SLICE_SECONDS), _SLICE_SECONDS)
            messages += self._consumer.consume(rows - len(messages), wait)
            self._commit(asynchronous=True)
            now = time.monotonic()
        for partition in self._position.copy():
            if partition in self._epochs:
                self._high[partition] = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)[1]
        return self._without_errors(messages)

    def _without_errors(self, messages: list[Message]) -> list[Message]:
        good = [message for message in messages if message.error() is None]
        if len(good) != len(messages):
            for message in messages:
                error = message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    self._counters.failed(error.str())
        return good

    def _hand_over(self, made: Block) -> None:
        for partition, following in made.next.items():
            first = self._expected.get(partition, made.first[partition])
            missing = following - first - made.messages[partition]
            if missing > 0:
                self._counters.missing[partition] += missing
                topic, number = partition
                _log.error(
                    "messages gone before they were read", topic=topic, partition=number, offset=first, count=missing
                )
            self._expected[partition] = following
        while not self._stopping.is_set():
            try:
                self._blocks.put((made, self._epoch), timeout=_SLICE_SECONDS)
            except queue.Full:
                self._commit(asynchronous=True)
                continue
            return

    def _insert(self) -> None:
        while True:
            try:
                made, epoch = self._blocks.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                if self._read.is_set():
                    return
                continue
            if not self._insert_until_done(made):
                return
            self._blocks.task_done()
            self._counters.last_error = ""
            self._counters.rows += made.rows
            self._counters.messages.update(made.messages)
            self._position.update(made.next)
            self._uncommitted.append(_Uncommitted(made.next, epoch, self._delivery()))
            while len(self._uncommitted) > _UNCOMMITTED_BLOCKS and not self._stopping.is_set():
                self._pause.wait(_SLICE_SECONDS)

    def _insert_until_done(self, made: Block) -> bool:
        """False when told to stop before the block went in; its offsets are then not committed."""
        backoff = _FIRST_BACKOFF
        while True:
            try:
                inserted = self._insert_once(made)
            except EngineError as error:
                inserted = False
                self._counters.failed(error.message)
                places = [
                    {"topic": topic, "partition": number, "offset": offset}
                    for (topic, number), offset in made.first.items()
                ]
                _log.warning(
                    "block not inserted, trying again", table=self.stand_in.name, begins=places, error=error.message
                )
            if inserted:
                return True
            if self._stopping.wait(backoff):
                return False
            backoff = min(backoff * 2, _LAST_BACKOFF)

    def _insert_once(self, made: Block) -> bool:
        with self._gate.passing():
            if not self._is_fed():
                self._counters.failed("no materialized view reads the table any more: waiting for one")
                return False
            if made.rows:
                insert_block(self._session, self.stand_in.name, made)
            return True

    def _commit(self, *, asynchronous: bool) -> None:
        """Commit, in order, the offsets of all blocks whose rows have been delivered everywhere; again if it failed."""
        found = False
        while self._uncommitted and all(is_delivered() for is_delivered in self._uncommitted[0].waits):
            done = self._uncommitted.popleft()
            found = True
            for partition, offset in done.offsets.items():
                # A partition that went to another consumer meanwhile is that one's to commit.
                if self._epochs.get(partition, done.epoch + 1) <= done.epoch:
                    self._due[partition] = offset
        if not self._due or (asynchronous and not found and time.monotonic() < self._commit_again):
            return
        offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in self._due.items()]
        self._due.clear()
        try:
            answer = self._consumer.commit(offsets=offsets, asynchronous=asynchronous)
        except KafkaException as error:
            self._on_commit(error.args[0], offsets)
            return
        if not asynchronous:
            self._on_commit(None, answer)

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        for one in partitions:
            partition = (one.topic, one.partition)
            failure = error or one.error
            if failure is None:
                self._committed[partition] = one.offset
                continue
            self._counters.failed(f"commit of {one.topic}/{one.partition}: {failure}")
            self._commit_again = time.monotonic() + _FIRST_BACKOFF
            if partition in self._epochs:
                self._due.setdefault(partition, one.offset)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._epoch += 1
        try:
            committed = consumer.committed(partitions, timeout=_COMMITTED_SECONDS)
        except KafkaException as error:
            self._counters.failed(f"committed offsets: {error}")
            committed = []
        for one in partitions:
            self._epochs[one.topic, one.partition] = self._epoch
            self._expected.pop((one.topic, one.partition), None)
        for one in committed:
            if one.offset >= 0:
                self._expected[one.topic, one.partition] = self._committed[one.topic, one.partition] = one.offset

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for one in partitions:
            for known in (self._epochs, self._expected, self._position, self._committed, self._high, self._due):
                known.pop((one.topic, one.partition), None)

    def _on_error(self, error: KafkaError) -> None:
        self._counters.failed(error.str())
