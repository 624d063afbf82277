"""Where one source stands in its partitions: what it took, what is inserted, what is committed."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from deploy.embedded.clickhouse.kafka.blocks import Block, Bounds, Partition

_REQUEST_SECONDS = 5.0
_RETRY_SECONDS = 0.05
_log = structlog.get_logger(__name__)


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


class Offsets:
    """The offsets of one consumer; its thread calls everything but `inserted` and `status`.

    After a rebalance that gives a partition back, reading goes on behind what was taken, so that a block on its way
    into the engine is not read again. Where the broker has forgotten the group, its word counts: it may have forgotten
    the messages, too.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._epoch = 0
        self._epochs: dict[Partition, int] = {}
        self._left: dict[Partition, int] = {}
        self._taken: dict[Partition, int] = {}
        self._committed: dict[Partition, int] = {}
        self._inserted: deque[tuple[Mapping[Partition, Bounds], int]] = deque()
        self._unanswered: dict[Partition, int] = {}
        self._position: dict[Partition, int] = {}
        self._high: dict[Partition, int] = {}
        self._due: dict[Partition, int] = {}
        self._commit_again = 0.0

    @property
    def epoch(self) -> int:
        """A number of the assignment, ascending."""
        return self._epoch

    @property
    def are_acknowledged(self) -> bool:
        """Whether the broker has what is inserted: a node that is killed now is given nothing of it again."""
        return not self._inserted and not any(partition in self._epochs for partition in self._unanswered.copy())

    def take(self, made: Block) -> None:
        """A block is about to be inserted; count what the broker no longer had before it."""
        for partition, (first, following) in made.bounds.items():
            expected = self._taken.get(partition, first)
            missing = following - expected - made.messages[partition]
            if missing > 0:
                self._counters.missing[partition] += missing
                topic, number = partition
                _log.error(
                    "messages gone before they were read", topic=topic, partition=number, offset=expected, count=missing
                )
            self._taken[partition] = following

    def inserted(self, made: Block, epoch: int) -> None:
        """A block that was taken in this epoch is in the engine; from any thread."""
        self._counters.last_error = ""
        self._counters.rows += made.rows
        self._counters.messages.update(made.messages)
        self._position.update({partition: following for partition, (_, following) in made.bounds.items()})
        self._inserted.append((made.bounds, epoch))

    def commit(self, consumer: Consumer, *, asynchronous: bool) -> None:
        """Commit the offsets of all blocks that are in the engine; again if it failed."""
        found = False
        while self._inserted:
            bounds, epoch = self._inserted[0]
            found = True
            for partition, (_, following) in bounds.items():
                # A partition that went to another consumer meanwhile is that one's to commit.
                if self._epochs.get(partition, self._left.get(partition, epoch + 1)) <= epoch:
                    self._due[partition] = self._unanswered[partition] = following
            self._inserted.popleft()
        due = {partition: offset for partition, offset in self._due.items() if partition in self._epochs}
        if not due or (asynchronous and not found and time.monotonic() < self._commit_again):
            return
        offsets = [TopicPartition(topic, number, offset) for (topic, number), offset in due.items()]
        for partition in due:
            del self._due[partition]
        try:
            answer = consumer.commit(offsets=offsets, asynchronous=asynchronous)
        except KafkaException as error:
            self.on_commit(error.args[0], offsets)
            return
        if not asynchronous:
            self.on_commit(None, answer)

    def on_commit(self, error: KafkaError | None, partitions: Iterable[TopicPartition]) -> None:
        """The broker has answered a commit."""
        for one in partitions:
            partition = (one.topic, one.partition)
            failure = error or one.error
            if failure is None:
                self._committed[partition] = one.offset
                if one.offset >= self._unanswered.get(partition, 0):
                    self._unanswered.pop(partition, None)
                continue
            self._counters.failed(f"commit of {one.topic}/{one.partition}: {failure}")
            self._commit_again = time.monotonic() + _RETRY_SECONDS
            if partition in self._epochs:
                self._due.setdefault(partition, one.offset)

    def assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> dict[Partition, int]:
        """Begin each partition where its reading has to go on; what is committed, by partition."""
        self._epoch += 1
        try:
            listed = consumer.committed(partitions, timeout=_REQUEST_SECONDS)
        except KafkaException as error:
            self._counters.failed(f"committed offsets: {error}")
            listed = []
        committed = {(one.topic, one.partition): one.offset for one in listed if one.offset >= 0}
        for one in partitions:
            partition = (one.topic, one.partition)
            taken = self._taken.get(partition, -1)
            left = self._left.pop(partition, self._epoch)
            if 0 <= self._committed.get(partition, 0) <= committed.get(partition, -1) <= taken:
                one.offset = taken
                self._epochs[partition] = left
                if partition in self._unanswered:
                    # Its commit may have been refused while the partition was away.
                    self._due[partition] = self._unanswered[partition]
                continue
            self._epochs[partition] = self._epoch
            for known in (self._taken, self._due, self._unanswered):
                known.pop(partition, None)
            if partition in committed:
                self._taken[partition] = committed[partition]
        self._committed.update(committed)
        consumer.assign(partitions)
        return committed

    def revoke(self, partitions: Iterable[TopicPartition]) -> None:
        """The partitions may go to another consumer, or come back."""
        for one in partitions:
            partition = (one.topic, one.partition)
            if partition in self._epochs:
                self._left[partition] = self._epochs.pop(partition)
            for known in (self._position, self._high):
                known.pop(partition, None)

    def look_up_ends(self, consumer: Consumer) -> None:
        """Keep the ends of the partitions as the client last heard of them."""
        for partition in self._position.copy():
            if partition in self._epochs:
                self._high[partition] = consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)[1]

    def status(self) -> dict[str, dict[str, int | None]]:
        """By topic/partition: position, committed, lag, messages, missing.

        `missing` counts offsets that the broker no longer had when they were to be read.
        """
        partitions: dict[str, dict[str, int | None]] = {}
        for partition, position in sorted(self._position.copy().items()):
            committed, high = self._committed.get(partition), self._high.get(partition)
            partitions[f"{partition[0]}/{partition[1]}"] = {
                "position": position,
                "committed": committed,
                "lag": None if high is None else max(high - (committed or 0), 0),
                "messages": self._counters.messages[partition],
                "missing": self._counters.missing[partition],
            }
        return partitions
