"""Which partition inserts next and when; one insert at a time a worker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from silver_processor.batching.pace import Pace

# Many tiny messages are as much work as many rows.
_MOST_MESSAGES = 4_096
# Not worth a timer.
_SOON_S = 0.001


class Queue(Protocol):
    """A partition as the inserter sees it (see `silver_processor.inserts.partition.Partition`)."""

    @property
    def can_insert(self) -> bool:
        """Whether `insert_next` would insert."""

    @property
    def in_doubt(self) -> bool:
        """Whether its next insert repeats one whose outcome nobody knows."""

    @property
    def waiting_rows(self) -> int:
        """Rows that are in no insert."""

    @property
    def waiting_messages(self) -> int:
        """Messages that are in no insert."""

    @property
    def oldest(self) -> float:
        """When the first of them arrived."""

    async def insert_next(self) -> None:
        """Insert once."""


@dataclass
class Inserter:
    """Lets the partitions of an assignment insert, each when `pace` says so.

    `clock`: seconds, monotonic, the partitions' own. `between`: runs before every insert. `waiting_limit`: rows in no
    insert at which arrivals are held back. `busy`: an insert is under way.
    """

    pace: Pace
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
        """Something arrived, or the partitions are others now."""
        self._changed.set()
        self._inserted.set()

    def stop(self) -> None:
        """End `run` before its next insert."""
        self._stopped = True
        self.wake()

    async def room(self) -> None:
        """Return when another message may be decoded: what waits in memory is bounded.

        Arrivals are never held back while no insert is possible: an insert in doubt may wait for them.
        """
        while self._is_full():
            self._inserted.clear()
            await self._inserted.wait()

    async def run(self) -> None:
        """Insert until stopped.

        Raises:
            StoppedError: the worker stops.
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
        """The partition to insert now; else None and the seconds until one is due (None: nothing waits)."""
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
        return self.pace.due_in(queue.waiting_rows, now - queue.oldest, now - self._last)

    def _is_full(self) -> bool:
        queues = list(self.queues())
        full = (
            sum(queue.waiting_rows for queue in queues) >= self.waiting_limit
            or sum(queue.waiting_messages for queue in queues) >= _MOST_MESSAGES
        )
        return full and any(queue.can_insert for queue in queues)
