"""When the next insert starts, and of which partition. A worker makes one insert at a time.

Small inserts cost parts: each adds a part to Silver and to every candle table, however few its rows. Waiting for more
rows costs latency. `InsertTiming` decides between the two. At low rates few parts win: a worker starts an insert of
fewer than `small_rows` rows at most once in `gap_s`, unless a message would wait longer than `longest_wait_s`. At high
rates latency wins: an insert of `small_rows` rows or more starts at once. A worker therefore makes at most 1 / gap_s +
partitions / longest_wait_s + rows a second / small_rows inserts a second.
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
    """The settings of the choice.

    `small_rows`: an insert of fewer rows is small. `gap_s`: least time between the starts of an insert and a small one
    after it. `longest_wait_s`: most time from a message's arrival to the start of its insert.
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
    """A partition as the scheduler sees it (see `silver_processor.inserts.partition.Partition`)."""

    @property
    def can_insert(self) -> bool:
        """Whether `insert_next` would insert."""

    @property
    def in_doubt(self) -> bool:
        """Whether the next insert repeats one whose outcome is unknown."""

    @property
    def waiting_rows(self) -> int:
        """Rows that wait for an insert."""

    @property
    def waiting_messages(self) -> int:
        """Messages that wait for an insert."""

    @property
    def oldest(self) -> float:
        """When the first of them arrived."""

    async def insert_next(self) -> None:
        """Insert once."""


@dataclass
class InsertScheduler:
    """Lets the assigned partitions insert, one after the other, each when `timing` says so.

    `waiting_limit`: waiting rows at which arrivals are held back. `clock`: seconds, monotonic; the partitions use the
    same clock. `between`: awaited before every insert. `queues`: the assigned partitions. `busy`: an insert is under
    way.
    """

    timing: InsertTiming
    waiting_limit: int
    clock: Callable[[], float]
    between: Callable[[], Awaitable[object]]
    queues: Callable[[], Iterable[Queue]]
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _inserted: asyncio.Event = field(default_factory=asyncio.Event)
    _last: float = float("-inf")
    _stopped: bool = False
    busy: bool = False

    def wake(self) -> None:
        """Look again: a message arrived, or the assignment changed."""
        self._changed.set()
        self._inserted.set()

    def stop(self) -> None:
        """End `run` before its next insert."""
        self._stopped = True
        self.wake()

    async def room(self) -> None:
        """Wait until another message may be decoded. This bounds the memory that waiting messages take.

        Arrivals are not held back while no partition can insert: an insert in doubt may need messages yet to come.
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
            await self.between()
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
