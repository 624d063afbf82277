"""Decides when the next insert starts, and of which partition. A worker makes one insert at a time.

Every insert adds a part to Silver and to the candle table, however few its rows. Waiting for more rows adds latency.
`InsertTiming` weighs the two. An insert of fewer than `small_rows` rows starts at most once in `gap_s`, unless a
message would wait longer than `longest_wait_s`. An insert of `small_rows` rows or more starts at once. A worker
therefore makes at most 1 / gap_s + partitions / longest_wait_s + rows a second / small_rows inserts a second.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

# Many tiny messages are as much work as many rows.
_MAX_WAITING_MESSAGES = 4_096
# A shorter pause is not worth a timer.
_SOON_S = 0.001


@dataclass(frozen=True, slots=True)
class InsertTiming:
    """When an insert is due.

    `small_rows`: an insert of fewer rows is small. `gap_s`: the least time from the start of an insert to the start of
    a small one after it. `longest_wait_s`: the longest time from a message's arrival to the start of its insert.
    """

    small_rows: int
    gap_s: float
    longest_wait_s: float

    def due_in(self, rows: int, waited_s: float, since_last_s: float) -> float:
        """Seconds until an insert of the waiting `rows` starts; 0: now.

        `waited_s`: time since the oldest waiting message arrived. `since_last_s`: time since the worker's last insert
        started.
        """
        if rows >= self.small_rows:
            return 0.0
        return max(min(self.gap_s - since_last_s, self.longest_wait_s - waited_s), 0.0)


class Queue(Protocol):
    """The waiting messages of one partition (see `silver_processor.inserts.partition.Partition`)."""

    @property
    def can_insert(self) -> bool:
        """Whether `insert_next` would insert."""

    @property
    def in_doubt(self) -> bool:
        """Whether the next insert repeats one whose outcome is unknown."""

    @property
    def waiting_rows(self) -> int:
        """Number of rows that wait for an insert."""

    @property
    def waiting_messages(self) -> int:
        """Number of messages that wait for an insert."""

    @property
    def oldest(self) -> float:
        """When the first waiting message arrived (s, the scheduler's clock)."""

    async def insert_next(self) -> None:
        """Make the next insert."""


@dataclass
class InsertScheduler:
    """Lets the assigned partitions insert, one after the other, each when `timing` makes it due.

    `waiting_limit`: `wait_for_room` waits while so many rows wait. `clock`: seconds, monotonic; the partitions use the
    same clock. `before_each_insert`: awaited before every insert. `queues`: the assigned partitions. `busy`: whether an
    insert is under way.
    """

    timing: InsertTiming
    waiting_limit: int
    clock: Callable[[], float]
    before_each_insert: Callable[[], Awaitable[object]]
    queues: Callable[[], Iterable[Queue]]
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _inserted: asyncio.Event = field(default_factory=asyncio.Event)
    _last: float = float("-inf")
    _stopped: bool = False
    busy: bool = False

    def wake(self) -> None:
        """Check the partitions again: a message has arrived, or the assignment has changed."""
        self._changed.set()
        self._inserted.set()

    def stop(self) -> None:
        """End `run` before its next insert."""
        self._stopped = True
        self.wake()

    async def wait_for_room(self) -> None:
        """Wait until another message may be decoded. This bounds the memory that waiting messages take.

        It returns at once while no partition can insert: an insert in doubt may need messages that have not arrived.
        """
        while self._is_full():
            self._inserted.clear()
            await self._inserted.wait()

    async def run(self) -> None:
        """Insert until stopped.

        Raises:
            WorkerStoppedError: the worker stops.
        """
        while not self._stopped:
            self._changed.clear()
            queue, pause_s = self._next()
            if queue is None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), pause_s)
                continue
            self.busy = True
            await self.before_each_insert()
            self._last = self.clock()
            await queue.insert_next()
            self.busy = False
            self._inserted.set()

    def _next(self) -> tuple[Queue | None, float | None]:
        """The partition to insert now; if there is none, the seconds until one is due (None: no message waits)."""
        now = self.clock()
        due = [
            (0.0 if queue.in_doubt else self._due_in(queue, now), queue.oldest, place, queue)
            for place, queue in enumerate(self.queues())
            if queue.can_insert
        ]
        if not due:
            return None, None
        pause_s, _, _, queue = min(due, key=lambda candidate: candidate[:3])
        return (queue, None) if pause_s <= _SOON_S else (None, pause_s)

    def _due_in(self, queue: Queue, now: float) -> float:
        return self.timing.due_in(queue.waiting_rows, now - queue.oldest, now - self._last)

    def _is_full(self) -> bool:
        queues = list(self.queues())
        full = (
            sum(queue.waiting_rows for queue in queues) >= self.waiting_limit
            or sum(queue.waiting_messages for queue in queues) >= _MAX_WAITING_MESSAGES
        )
        return full and any(queue.can_insert for queue in queues)
