"""Feeds one source table: consumes messages, inserts them, and commits when the views have delivered them, too."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from tenacity import RetryError

from config.process.retry import retry_until_stopped
from deploy.embedded.clickhouse.engine.engine_session import EngineSession
from deploy.embedded.clickhouse.errors import EngineError
from deploy.embedded.clickhouse.kafka.blocks import Block, Bounds, Partition, block
from deploy.embedded.clickhouse.kafka.catalog import StandIn
from deploy.embedded.clickhouse.kafka.feed import insert_block
from deploy.embedded.clickhouse.kafka.gate import Gate
from deploy.embedded.clickhouse.kafka.offsets import Counters, Offsets, UnderWay

_DEFAULT_BLOCK_ROWS = 65_536
_MOST_ROWS = 1_000_000  # confluent_kafka's own limit for one consume()
_BLOCKS_AHEAD = 1
_IDLE_SECONDS = 0.25
_SLICE_SECONDS = 0.01
_BUSY_SLICE_SECONDS = 0.003
_EARLY = 1 / 8  # part of the flush interval
_ANSWER_SECONDS = 0.001
_STOP_SECONDS = 10.0
_REQUEST_SECONDS = 5.0
_REPEAT_SECONDS = 15.0
_log = structlog.get_logger(__name__)


class _NotFedError(Exception):
    """No view reads the table, so its rows would go nowhere."""


class KafkaSource:
    """The consumer of one source table.

    One thread consumes and builds the next block while another thread inserts the current one. The next block is built
    when `kafka_flush_interval_ms` have passed since the current one and the current one is inserted; up to an eighth of
    that time earlier if messages have just arrived, so that these do not wait. It has all messages that have arrived,
    at most `kafka_max_block_size`. So small blocks never queue up.

    A block that the engine refuses is tried again, with back-off, until it goes in, as with the real engine. Nothing
    after it is read meanwhile, and `status` shows the error. Every block has a token. A node that was killed begins
    with the block that was under way; each table behind the source takes only what it does not have of it.
    """

    def __init__(
        self,
        stand_in: StandIn,
        session: EngineSession,
        config: Mapping[str, object],
        gate: Gate,
        is_fed: Callable[[], bool],
        under_way: UnderWay,
    ) -> None:
        """Args:
        stand_in: the table. Assign a new `stand_in` when it is renamed.
        session: a session for this source alone. `stop` closes it.
        config: the consumer's configuration.
        gate: every block passes it.
        is_fed: whether a view reads the table. Called inside the gate.
        under_way: the file of this source.
        """
        self.stand_in = stand_in
        self._session, self._gate, self._is_fed = session, gate, is_fed
        self._under_way = under_way
        self._repeat: dict[Partition, Bounds] = under_way.read()
        self._repeat_until = math.inf  # no limit before partitions are assigned: the group may wait for a killed node
        self._counters = Counters()
        self._offsets = Offsets(self._counters)
        self._consumer = Consumer({**config, "on_commit": self._offsets.on_commit, "error_cb": self._on_error})
        self._held: list[Message] = []
        self._handed_over = 0.0
        self._blocks: queue.Queue[tuple[Block, int]] = queue.Queue(_BLOCKS_AHEAD)
        self._stopping = threading.Event()
        self._read = threading.Event()  # set when the last block has been handed over
        self._pause = threading.Event()  # never set; only its timeout is used
        name = ".".join(stand_in.name)
        self._inserting = threading.Thread(target=self._insert, name=f"insert {name}", daemon=True)
        self._threads = [threading.Thread(target=self._consume, name=f"consume {name}", daemon=True), self._inserting]

    def start(self) -> None:
        """Begin as soon as a view reads the table."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Insert the consumed messages, commit the inserted ones, and leave the group."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._session.close()

    def forget(self) -> None:
        """Remove the file for the next start. Call it when the table is gone."""
        self._under_way.forget()

    @property
    def is_running(self) -> bool:
        """False once a thread has ended by itself."""
        return all(thread.is_alive() or thread.ident is None for thread in self._threads)

    def status(self) -> dict[str, object]:
        """Counters of the source, and `Offsets.status` of its partitions."""
        return {
            "role": "source",
            "rows": self._counters.rows,
            "errors": self._counters.errors,
            "last_error": self._counters.last_error,
            "uncommitted_blocks": self._blocks.unfinished_tasks,
            "partitions": self._offsets.status(),
        }

    def _consume(self) -> None:
        # The client runs one call at a time, and another thread might wait long for its turn. So this thread makes all
        # calls.
        while not self._stopping.is_set() and not self._is_fed():
            self._stopping.wait(_IDLE_SECONDS)
        if not self._stopping.is_set():
            topics = list(self.stand_in.table.topics)
            self._consumer.subscribe(
                topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
            )
        while not self._stopping.is_set():
            self._hand_over(self._next_messages())
        self._read.set()
        deadline = time.monotonic() + _STOP_SECONDS
        while self._inserting.is_alive() and time.monotonic() < deadline:
            self._offsets.commit(self._consumer, asynchronous=True)
            self._pause.wait(_SLICE_SECONDS)
        self._offsets.commit(self._consumer, asynchronous=False)
        self._consumer.close()

    def _next_messages(self) -> list[Message]:
        """Wait for the messages of the next block, and commit meanwhile. They are in the order of consumption."""
        table = self.stand_in.table
        rows = min(table.number("kafka_max_block_size", _DEFAULT_BLOCK_ROWS), _MOST_ROWS)
        flush_s = table.flush_ms / 1000
        if not self._held and not self._blocks.unfinished_tasks and self._offsets.are_acknowledged:
            message = self._consumer.poll(_IDLE_SECONDS)  # returns with the first message
            self._hold([] if message is None else [message])
        now = time.monotonic()
        deadline = max(self._handed_over + flush_s, now + _BUSY_SLICE_SECONDS)
        is_due = False
        while (
            len(self._held) < rows
            and (now < deadline or self._blocks.unfinished_tasks)
            and (self._held or self._blocks.unfinished_tasks or not self._offsets.are_acknowledged)
            and not is_due
            and not self._stopping.is_set()
        ):
            slice_s = _SLICE_SECONDS if self._offsets.are_acknowledged else _BUSY_SLICE_SECONDS
            wait = min(max(deadline - now, _BUSY_SLICE_SECONDS), slice_s)
            has_arrived = self._receive(rows - len(self._held), wait)
            self._offsets.commit(self._consumer, asynchronous=True)
            now = time.monotonic()
            is_due = has_arrived and now >= deadline - flush_s * _EARLY and not self._blocks.unfinished_tasks
        self._offsets.look_up_ends(self._consumer)
        if self._repeat:
            return self._repeated()
        messages, self._held = self._held, []
        return messages

    def _receive(self, most: int, wait_s: float) -> bool:
        """Wait for a message, then hold it and those that come with it. Whether there was one."""
        first = self._consumer.poll(wait_s)
        if first is None:
            return False
        self._hold([first])
        if most > 1:
            self._hold(self._consumer.consume(most - 1, _BUSY_SLICE_SECONDS))
        return True

    def _hold(self, messages: list[Message]) -> None:
        """Add messages to the next block. Callbacks of `consume` may have removed others, so never assign the list."""
        for message in messages:
            error = message.error()
            if error is None:
                self._held.append(message)
            elif error.code() != KafkaError._PARTITION_EOF:
                self._counters.failed(error.str())

    def _repeated(self) -> list[Message]:
        """The messages of the block that was under way when an earlier node ended; none until all have arrived."""
        ends = dict.fromkeys(self._repeat, -1) | {(one.topic(), one.partition()): one.offset() for one in self._held}
        is_whole = all(ends[partition] + 1 >= following for partition, (_, following) in self._repeat.items())
        if not is_whole and (time.monotonic() < self._repeat_until or not self._broker_answers()):
            return []
        if not is_whole:
            _log.warning(
                "block of an earlier node not repeated: the broker does not return its messages",
                table=self.stand_in.name,
            )
        bounds, self._repeat = self._repeat, {}
        ours = [m for m in self._held if m.offset() < bounds.get((m.topic(), m.partition()), (0, 0))[1]]
        self._held = [m for m in self._held if m.offset() >= bounds.get((m.topic(), m.partition()), (0, 0))[1]]
        self._consumer.resume(self._consumer.assignment())
        return ours

    def _hand_over(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        made = block(self.stand_in.table.column_names[0], messages)
        self._offsets.take(made)
        self._handed_over = time.monotonic()
        while not self._stopping.is_set():
            try:
                self._blocks.put((made, self._offsets.epoch), timeout=_SLICE_SECONDS)
            except queue.Full:
                self._offsets.commit(self._consumer, asynchronous=True)
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
            while not self._offsets.are_acknowledged:
                # If the node is killed before a block's commit has arrived, the block is read again. It has to be the
                # same block: together with the next one it would have a new token, which no table knows.
                if self._stopping.wait(_ANSWER_SECONDS):
                    return
            if not self._insert_until_done(made):
                return
            self._offsets.inserted(made, epoch)
            self._blocks.task_done()

    def _insert_until_done(self, made: Block) -> bool:
        """Try until the block is inserted. False if the source stopped before; then nothing is committed."""
        places = [
            {"topic": topic, "partition": number, "offset": first}
            for (topic, number), (first, _) in made.bounds.items()
        ]

        def tell(error: BaseException, _attempt: int) -> None:
            reason = error.message if isinstance(error, EngineError) else str(error)
            self._counters.failed(reason)
            if not isinstance(error, _NotFedError):
                _log.warning("block not inserted, trying again", table=self.stand_in.name, begins=places, error=reason)

        try:
            retry_until_stopped(self._stopping, (EngineError, OSError, _NotFedError), tell)(self._insert_once, made)
        except RetryError:
            return False
        return True

    def _insert_once(self, made: Block) -> None:
        with self._gate.passing():
            if not self._is_fed():
                raise _NotFedError("no materialized view reads the table any more; the source waits for one")
            self._under_way.write(made.bounds)
            if made.rows.num_rows:
                insert_block(self._session, self.stand_in.name, made)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        committed = self._offsets.assign(consumer, partitions)
        self._repeat_until = time.monotonic() + _REPEAT_SECONDS
        if not self._repeat:
            return
        for one in partitions:
            partition = (one.topic, one.partition)
            _, following = self._repeat.get(partition, (0, 0))
            if following and (committed.get(partition, -1) >= following or self._is_gone(consumer, one, following)):
                del self._repeat[partition]
        # All other partitions are paused meanwhile, so that few messages are held.
        waiting = [one for one in partitions if self._repeat and (one.topic, one.partition) not in self._repeat]
        consumer.pause(waiting)
        if not waiting:
            consumer.resume(partitions)

    def _is_gone(self, consumer: Consumer, partition: TopicPartition, following: int) -> bool:
        """Whether the broker lacks the message before an offset: it may have forgotten its topics."""
        try:
            low, high = consumer.get_watermark_offsets(partition, timeout=_REQUEST_SECONDS)
        except KafkaException as error:
            self._counters.failed(f"offsets of {partition.topic}/{partition.partition}: {error}")
            return False
        return not low < following <= high

    def _broker_answers(self) -> bool:
        """Whether the broker answers. If it does not, the time to wait for its messages starts again."""
        try:
            self._consumer.list_topics(timeout=_REQUEST_SECONDS)
        except KafkaException as error:
            self._counters.failed(f"broker: {error}")
            self._repeat_until = time.monotonic() + _REPEAT_SECONDS
            return False
        return True

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        gone = {(one.topic, one.partition) for one in partitions}
        self._held = [one for one in self._held if (one.topic(), one.partition()) not in gone]
        self._offsets.revoke(partitions)

    def _on_error(self, error: KafkaError) -> None:
        self._counters.failed(error.str())
