"""One Bronze partition's waiting messages, from arrival to acknowledgement.

Two coroutines work on it side by side: `take` decodes what arrives (and judges a batch that is full) while
`insert_next` makes the batch before durable. Only `insert_next` records ranges, one at a time and each after the one
before is durable, so the overlap changes nothing in what a crash can leave behind.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from schemas.kafka_time import bounded_ms
from silver_processor.batching.batch import Judged, Message, read
from silver_processor.batching.plan import Range, Waiting, next_range
from silver_processor.inserts.fence import Lease, LeaseOverError
from silver_processor.inserts.intent import Position
from silver_processor.inserts.sink import Outcome
from silver_processor.seen.index import SeenTrades


class Recorder(Protocol):
    """Where planned ranges are recorded (see `silver_processor.inserts.intent.Journal`)."""

    async def position(self, partition: int) -> Position | None:
        """Where the group stands, or None: not ours."""

    async def record(self, partition: int, planned: Range, generation: int) -> bool:
        """Record before the insert; False: do not insert."""


class Writer(Protocol):
    """Makes messages durable (see `silver_processor.inserts.sink.Sink`)."""

    def prepare(self, messages: Sequence[Message]) -> Judged:
        """Judge messages whose insert is yet to come."""

    def write(
        self,
        messages: Sequence[Message],
        token: str,
        seen: SeenTrades,
        in_doubt: bool,
        prepared: Judged | None,
        before_insert: Callable[[], None],
    ) -> Outcome:
        """Return once everything is durable; `before_insert` may forbid a request to insert."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """The threads of a worker: `decode` for what arrives, `insert` (one thread) for what is made durable."""

    decode: Executor
    insert: Executor


@dataclass(frozen=True, slots=True)
class _Arrived:
    event: Any
    message: Message
    at: float


@dataclass(slots=True)
class Partition:
    """State of one partition during one assignment; a rebalance throws it away.

    `acknowledge` gets the events of each insert's messages only after these are durable. `clock`: seconds, monotonic.
    """

    topic: str
    number: int
    seen: SeenTrades
    recorder: Recorder
    writer: Writer
    merge_rows: int
    lanes: Lanes
    acknowledge: Callable[[Any], object]
    observe: Callable[[int, Range, Outcome], object]
    clock: Callable[[], float]
    revoked: bool = False
    waiting_rows: int = 0
    _position: Position | None = None
    _next: int = -1
    _arrived: deque[_Arrived] = field(default_factory=deque)
    _inserting: int = 0
    _ahead: tuple[Range, Judged] | None = None

    async def take(self, event: Any) -> None:
        """Decode and queue an event (`event.message`: a Kafka message); one that was taken before is left out.

        Judges the next insert ahead if its messages are complete.
        """
        message = event.message
        if self._position is None:
            self._position = await self.recorder.position(self.number)
            if self._position is None:
                self.revoked = True
                return
            self._next = self._position.committed
        if message.offset < self._next:
            return
        self._next = message.offset + 1
        at = self.clock()
        # Faust knows no time of a message in Kafka's oldest format.
        published_ms = bounded_ms(-1 if message.timestamp is None else round(message.timestamp * 1000))
        decoded = await asyncio.get_running_loop().run_in_executor(
            self.lanes.decode, read, self.number, message.offset, published_ms, message.value
        )
        self._arrived.append(_Arrived(event, decoded, at))
        self.waiting_rows += decoded.rows.num_rows
        await self._judge_ahead()

    @property
    def waiting_messages(self) -> int:
        """Messages that are decoded and not in an insert."""
        return len(self._arrived) - self._inserting

    @property
    def oldest(self) -> float:
        """When (`clock`) the first message that is not in an insert arrived; there must be one."""
        return self._arrived[self._inserting].at

    @property
    def in_doubt(self) -> bool:
        """Whether an insert was begun whose outcome nobody knows: it goes first, and may need more than is here."""
        return self._position is not None and self._position.recorded is not None

    @property
    def can_insert(self) -> bool:
        """Whether `insert_next` would insert: messages wait, and all those of an insert in doubt are here."""
        if self.revoked or self._position is None or not self.waiting_messages:
            return False
        recorded, head = self._position.recorded, self._arrived[0].message
        if recorded is None or (recorded.first, recorded.first_published_ms) != (head.offset, head.published_ms):
            return True
        return self._arrived[-1].message.offset >= recorded.last

    async def insert_next(self) -> None:
        """Insert the next range, if there is one, and acknowledge its messages.

        Raises:
            StoppedError: the worker stops.
        """
        if not self.can_insert or self._position is None:
            return
        planned = next_range(self._waiting(0), self._position.recorded, self.merge_rows)
        if planned is None:
            return
        in_doubt = planned == self._position.recorded
        generation = self._position.generation
        batch = [arrived.message for arrived in self._arrived if arrived.message.offset <= planned.last]
        self._inserting = len(batch)
        self.waiting_rows -= sum(message.rows.num_rows for message in batch)
        prepared = self._ahead[1] if self._ahead is not None and self._ahead[0] == planned else None
        self._ahead = None
        outcome = await self._write(batch, planned, generation, in_doubt, prepared)
        if outcome is None:
            return
        self.observe(self.number, planned, outcome)
        # Whoever owns the partition now repeats the recorded range under the same token.
        if self.revoked:
            return
        self._position = Position(planned.last + 1, None, generation)
        self._inserting = 0
        for _ in batch:
            self.acknowledge(self._arrived.popleft().event)

    async def _write(
        self, batch: Sequence[Message], planned: Range, generation: int, in_doubt: bool, prepared: Judged | None
    ) -> Outcome | None:
        """Insert under the protection of a record; None: the partition is not ours any more."""
        while not self.revoked:
            # Also of a range in doubt, which this worker has only read: who is no longer in the group fails here.
            if not await self.recorder.record(self.number, planned, generation):
                self.revoked = True
                return None
            lease = Lease(lambda: self.revoked)
            try:
                return await asyncio.get_running_loop().run_in_executor(
                    self.lanes.insert,
                    self.writer.write,
                    batch,
                    planned.token(self.topic, self.number),
                    self.seen,
                    in_doubt,
                    prepared,
                    lease.check,
                )
            except LeaseOverError:
                # A request may have reached the server before.
                in_doubt = True
        return None

    async def _judge_ahead(self) -> None:
        """Judge the batch after the one that is being inserted, once no further message could join it."""
        if self._ahead is not None or self.in_doubt or self.waiting_rows <= self.merge_rows:
            return
        waiting = self._waiting(self._inserting)
        planned = next_range(waiting, None, self.merge_rows)
        if planned is None or planned.last == waiting[-1].offset:
            return
        batch = [
            arrived.message
            for arrived in islice(self._arrived, self._inserting, None)
            if arrived.message.offset <= planned.last
        ]
        judged = await asyncio.get_running_loop().run_in_executor(self.lanes.decode, self.writer.prepare, batch)
        # Meanwhile the insert may have begun without it.
        if self.waiting_messages and self._arrived[self._inserting].message.offset == planned.first:
            self._ahead = (planned, judged)

    def _waiting(self, start: int) -> list[Waiting]:
        return [
            Waiting(a.message.offset, a.message.published_ms, a.message.rows.num_rows)
            for a in islice(self._arrived, start, None)
        ]
