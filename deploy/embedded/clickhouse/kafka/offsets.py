"""Keeps one source's offsets by partition: taken from the broker, in the block under way, inserted, committed."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from deploy.embedded.clickhouse.kafka.blocks import Block, Bounds, Partition

_REQUEST_SECONDS = 5.0
_RETRY_SECONDS = 0.05
_log = structlog.get_logger(__name__)


@dataclass
class Counters:
    """What a source has counted since it started. A block that is inserted clears `last_error`."""

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
    """The offsets of one consumer. Only `inserted` and `status` may be called outside the consumer's thread.

    If a rebalance gives a partition back, reading continues after the last message taken. So a block on its way into
    the engine is not read again. If the broker has forgotten the group, reading starts where the broker says: it may
    have forgotten the messages, too.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._epoch = 0
        # The epoch from which a partition is assigned without a break; of partitions that were revoked, in `_left`.
        self._epochs: dict[Partition, int] = {}
        self._left: dict[Partition, int] = {}
        # The offset after the last message that is in a block.
        self._taken: dict[Partition, int] = {}
        self._committed: dict[Partition, int] = {}
        # Blocks that are inserted and not committed yet, each with its epoch.
        self._inserted: deque[tuple[Mapping[Partition, Bounds], int]] = deque()
        # Commits that the broker has not acknowledged; those of them that have to be sent, in `_due`.
        self._unanswered: dict[Partition, int] = {}
        self._due: dict[Partition, int] = {}
        # For `status`: the offset after the last inserted message, and the end of the partition.
        self._position: dict[Partition, int] = {}
        self._high: dict[Partition, int] = {}
        self._commit_again = 0.0

    @property
    def epoch(self) -> int:
        """The number of the current assignment, ascending."""
        return self._epoch

    @property
    def are_acknowledged(self) -> bool:
        """Whether the broker has the commits of all inserted blocks. A node killed now would read none of them
        again."""
        return not self._inserted and not any(partition in self._epochs for partition in self._unanswered.copy())

    def take(self, made: Block) -> None:
        """Record a block that is about to be inserted, and count messages before it that the broker no longer had."""
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
        """Record that the engine has a block of this epoch. Any thread may call it."""
        self._counters.last_error = ""
        self._counters.rows += made.rows.num_rows
        self._counters.messages.update(made.messages)
        self._position.update({partition: following for partition, (_, following) in made.bounds.items()})
        self._inserted.append((made.bounds, epoch))

    def commit(self, consumer: Consumer, *, asynchronous: bool) -> None:
        """Commit the offsets of all blocks that the engine has. A failed commit is repeated."""
        found = False
        while self._inserted:
            bounds, epoch = self._inserted[0]
            found = True
            for partition, (_, following) in bounds.items():
                # If the partition went to another consumer meanwhile, that one commits it.
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
        """Record the broker's answer to a commit."""
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
        """Start each partition at its next offset. Returns the committed offsets by partition."""
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
                    # The broker may have refused its commit while another consumer had the partition.
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
        """Record that the partitions were taken away. They may come back."""
        for one in partitions:
            partition = (one.topic, one.partition)
            if partition in self._epochs:
                self._left[partition] = self._epochs.pop(partition)
            for known in (self._position, self._high):
                known.pop(partition, None)

    def look_up_ends(self, consumer: Consumer) -> None:
        """Record the ends of the partitions, as far as the client knows them."""
        for partition in self._position.copy():
            if partition in self._epochs:
                self._high[partition] = consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)[1]

    def status(self) -> dict[str, dict[str, int | None]]:
        """By topic/partition: position, committed, lag, messages, missing.

        `missing` counts offsets that the broker had deleted before they were read.
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


class UnderWay:
    """The bounds of the block that one source inserts, in a file: a node that was killed repeats the same block.

    The kernel keeps written bytes however the process ends, so nothing is synced.
    """

    def __init__(self, path: Path) -> None:
        """Use this file. Its folder is created if it is missing."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path
        self._next = path.with_suffix(".next")

    def write(self, bounds: Mapping[Partition, Bounds]) -> None:
        """Record the bounds of the next block in place of the last one's.

        Raises:
            OSError: the file cannot be written.
        """
        listed = [[topic, number, first, following] for (topic, number), (first, following) in bounds.items()]
        self._next.write_bytes(orjson.dumps(listed))
        self._next.replace(self._path)

    def read(self) -> dict[Partition, Bounds]:
        """The bounds of the last block, inserted or not; empty before the first one."""
        with suppress(FileNotFoundError):
            listed = orjson.loads(self._path.read_bytes())
            return {(topic, number): (first, following) for topic, number, first, following in listed}
        return {}

    def forget(self) -> None:
        """Remove the file. Call it when the source is gone."""
        self._path.unlink(missing_ok=True)
