"""Flow control: bounds the bytes that are published and not yet consumed.

A broker with a small retention would otherwise delete messages before they are read.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

REFRESH_SECONDS = 0.02
_REQUEST_SECONDS = 5.0
_WAIT_SECONDS = 0.005


class FlowControl:
    """Admits at most `max_bytes` for each partition that `group` has not committed yet; 0: no bound.

    The publisher calls `acquire` or `try_acquire` before it produces a message. The producer's delivery callback calls
    `delivered` for every message that has no error, and `release` for every acquired one. Messages under way count
    against every partition, because the partitioner chooses later. A message larger than the bound is admitted alone,
    once everything before it is consumed. A publisher that may exceed the bound by its messages under way uses `admits`
    instead. Messages of other processes, or of an earlier run, are not counted: set the bound below half of the
    broker's retention. Safe to use from several threads.
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
        self._unconsumed: dict[tuple[str, int], deque[tuple[int, int]]] = {}
        self._bytes: dict[tuple[str, int], int] = {}
        self._most = 0  # the largest of `_bytes`
        self._refreshed = 0.0
        self.last_error = ""

    def admits(self, nbytes: int = 1) -> bool:
        """Whether `nbytes` more may be published now. It may read offsets from the broker; it waits for no consumer."""
        with self._lock:
            if self._fits(nbytes):
                return True
            if time.monotonic() - self._refreshed < REFRESH_SECONDS:
                return False
            self._refresh()
            return self._fits(nbytes)

    def try_acquire(self, nbytes: int) -> bool:
        """Count `nbytes` as under way if there is room. False: there is none. It waits for no consumer."""
        with self._lock:
            if not self._fits(nbytes) and not self.admits(nbytes):
                return False
            if self._max_bytes:
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
        """Record that a message of `size` bytes is at `offset`."""
        if not self._max_bytes:
            return
        key = (topic, partition)
        with self._lock:
            pending = self._unconsumed.setdefault(key, deque())
            if pending and offset <= pending[-1][0]:
                # The broker has lost its topics, and offsets begin at 0 again. Earlier messages are gone.
                pending.clear()
                self._bytes[key] = 0
                self._most = max(self._bytes.values())
            pending.append((offset, size))
            self._bytes[key] = self._bytes.get(key, 0) + size
            self._most = max(self._most, self._bytes[key])

    def release(self, nbytes: int) -> None:
        """Stop counting a message that was acquired with `nbytes` as under way."""
        if self._max_bytes:
            with self._lock:
                self._under_way -= nbytes

    def unconsumed(self) -> dict[tuple[str, int], int]:
        """Bytes that the group had not consumed when its offsets were last read, by (topic, partition)."""
        with self._lock:
            return {key: size for key, size in self._bytes.items() if size}

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

    def _fits(self, nbytes: int) -> bool:
        most = self._most + self._under_way
        return not self._max_bytes or most == 0 or most + nbytes <= self._max_bytes

    def _refresh(self) -> None:
        """Stop counting what the group has consumed. If the broker does not answer, the counts stay."""
        waiting = [TopicPartition(topic, partition) for (topic, partition), size in self._bytes.items() if size]
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
            key = (position.topic, position.partition)
            pending = self._unconsumed[key]
            while pending and pending[0][0] < position.offset:
                self._bytes[key] -= pending.popleft()[1]
        self._most = max(self._bytes.values())

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
