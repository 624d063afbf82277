"""Flow control: bounds the bytes that are published and not yet consumed.

A broker with a small retention would otherwise delete messages before they are read.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

_REFRESH_SECONDS = 0.02
_REQUEST_SECONDS = 5.0
_WAIT_SECONDS = 0.005
# So many delivered messages wait at most until they are counted to their partitions.
_MOST_ARRIVED = 1_024
# Messages of a partition are counted together up to this part of the bound.
_STEPS = 64


class _Unconsumed:
    """The messages of a partition that are not consumed, `size` bytes in all; `last` is the offset of the newest.

    Messages up to `step` bytes together leave together, with the last of them.
    """

    def __init__(self, step: int) -> None:
        self._step = step
        self._ends: deque[int] = deque()  # the last offset of each group of messages
        self._sizes: deque[int] = deque()
        self.size, self.last = 0, -1

    def add(self, offset: int, size: int) -> None:
        """Add the partition's next message."""
        if self._sizes and self._sizes[-1] + size <= self._step:
            self._ends[-1] = offset
            self._sizes[-1] += size
        else:
            self._ends.append(offset)
            self._sizes.append(size)
        self.size += size
        self.last = offset

    def consume(self, following: int) -> None:
        """Remove the messages before an offset."""
        while self._ends and self._ends[0] < following:
            self._ends.popleft()
            self.size -= self._sizes.popleft()


class FlowControl:
    """Admits at most `max_bytes` for each partition that `group` has not committed yet; 0: no bound.

    The publisher calls `acquire` or `try_acquire` before it produces a message. For every acquired message the
    producer's delivery callback calls `delivered`, or `release` if the message has an error. Messages under way count
    against every partition, because the partitioner chooses later. A message larger than the bound is admitted alone,
    once everything before it is consumed. Messages of other processes, or of an earlier run, are not counted: set the
    bound below half of the broker's retention. Safe to use from several threads.
    """

    def __init__(
        self,
        client: Mapping[str, object],
        group: str,
        max_bytes: int,
        *,
        serve: Callable[[float], object] | None = None,
    ) -> None:
        """Args:
        client: librdkafka's connection properties (`config.connections.kafka_client`).
        group: the consumer group whose committed offsets count as consumed; it need not exist yet.
        max_bytes: keys, values and headers, uncompressed.
        serve: serves delivery callbacks for a number of seconds (`Producer.poll`). `acquire` calls it while it waits.
            Without it, another thread has to serve them.
        """
        self._client, self._group, self._max_bytes = dict(client), group, max_bytes
        self._serve = serve
        self._lock = threading.RLock()
        self._cancelled = threading.Event()
        self._consumer: Consumer | None = None
        self._under_way = 0
        # Delivered messages that are still counted as under way: topic, partition, offset, size. Each is settled only
        # when it may make a difference, many at a time.
        self._arrived: deque[tuple[str, int, int, int]] = deque()
        self._unconsumed: dict[tuple[str, int], _Unconsumed] = {}
        self._most = 0  # the most bytes of `_unconsumed`
        self._refreshed = 0.0
        self.last_error = ""

    def try_acquire(self, nbytes: int) -> bool:
        """Count `nbytes` as under way if there is room. False: there is none.

        It may read offsets from the broker; it waits for no consumer.
        """
        if not self._max_bytes:
            return True
        with self._lock:
            if not self._has_room(nbytes):
                return False
            self._under_way += nbytes
            return True

    def acquire(self, nbytes: int, timeout: float | None = None) -> bool:
        """Wait for room for a message of `nbytes`; False after `timeout` seconds or `cancel`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.try_acquire(nbytes):
            if self._cancelled.is_set() or (deadline is not None and time.monotonic() > deadline):
                return False
            if self._serve is not None:
                self._serve(_WAIT_SECONDS)
            else:
                self._cancelled.wait(_WAIT_SECONDS)
        return True

    def delivered(self, topic: str, partition: int, offset: int, size: int) -> None:
        """Record that an acquired message of `size` bytes is at `offset`. The offsets of a partition ascend."""
        if not self._max_bytes:
            return
        self._arrived.append((topic, partition, offset, size))
        if len(self._arrived) >= _MOST_ARRIVED:
            with self._lock:
                self._settle()

    def release(self, nbytes: int) -> None:
        """Stop counting a message that was acquired with `nbytes` and not delivered."""
        if self._max_bytes:
            with self._lock:
                self._under_way -= nbytes

    def unconsumed(self) -> dict[tuple[str, int], int]:
        """Bytes that the group had not consumed when its offsets were last read, by (topic, partition)."""
        with self._lock:
            self._settle()
            return {key: waiting.size for key, waiting in self._unconsumed.items() if waiting.size}

    def cancel(self) -> None:
        """Make every waiting and later `acquire` that finds no room return False."""
        self._cancelled.set()

    def close(self) -> None:
        """Cancel, and close the connection to the broker."""
        self.cancel()
        with self._lock:
            if self._consumer is not None:
                self._consumer.close()
                self._consumer = None

    def _has_room(self, nbytes: int) -> bool:
        if self._fits(nbytes):
            return True
        self._settle()
        if self._fits(nbytes):
            return True
        if time.monotonic() - self._refreshed < _REFRESH_SECONDS:
            return False
        self._refresh()
        return self._fits(nbytes)

    def _fits(self, nbytes: int) -> bool:
        counted = self._most + self._under_way
        return counted == 0 or counted + nbytes <= self._max_bytes

    def _settle(self) -> None:
        """Count the delivered messages to their partitions."""
        for _ in range(len(self._arrived)):
            topic, partition, offset, size = self._arrived.popleft()
            self._under_way -= size
            key = (topic, partition)
            waiting = self._unconsumed.get(key)
            # A broker that has lost its topics begins with offset 0 again. Earlier messages are gone.
            if waiting is None or offset <= waiting.last:
                waiting = self._unconsumed[key] = _Unconsumed(self._max_bytes // _STEPS)
            waiting.add(offset, size)
        self._most = max((waiting.size for waiting in self._unconsumed.values()), default=0)

    def _refresh(self) -> None:
        """Stop counting what the group has consumed. If the broker does not answer, the counts stay."""
        waiting = [TopicPartition(topic, number) for (topic, number), one in self._unconsumed.items() if one.size]
        if not waiting:
            return
        try:
            committed = self._reader().committed(waiting, timeout=_REQUEST_SECONDS)
        except KafkaException as error:
            self.last_error = str(error)
            committed = []
        else:
            self.last_error = ""
        self._refreshed = time.monotonic()
        for position in committed:
            self._unconsumed[position.topic, position.partition].consume(position.offset)
        self._most = max(waiting.size for waiting in self._unconsumed.values())

    def _reader(self) -> Consumer:
        if self._consumer is None:
            # It never subscribes. Reading a group's offsets does not join the group.
            self._consumer = Consumer(
                {
                    **self._client,
                    "group.id": self._group,
                    "enable.auto.commit": False,
                    # It would log that the broker is away, which `last_error` says already.
                    "log_level": 2,
                }
            )
        return self._consumer
