"""The waiting messages of one Bronze partition, from arrival to acknowledgement.

Two coroutines run side by side. `take` decodes each message that arrives, and validates the messages of the next insert
as soon as they are complete. `insert_next` makes the insert before it durable. Only `insert_next` records ranges, each
after the previous one is durable, so a crash leaves at most one insert in doubt.
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
from silver_processor.batching.batch import Message, Validated, decode_message
from silver_processor.batching.ranges import OffsetRange, WaitingMessage, next_range
from silver_processor.inserts.intent import FenceExpiredError, GroupPosition, InsertFence
from silver_processor.inserts.writer import InsertOutcome
from silver_processor.seen.index import SeenTrades


class Intents(Protocol):
    """Reads and records ranges (see `silver_processor.inserts.intent.InsertIntents`)."""

    async def position(self, partition: int) -> GroupPosition | None:
        """The group's position; None: the partition belongs to another worker."""

    async def record(self, partition: int, planned: OffsetRange, generation: int) -> bool:
        """Record the range before its insert. False: do not insert."""


class Writer(Protocol):
    """Makes messages durable (see `silver_processor.inserts.writer.SilverWriter`)."""

    def prepare(self, messages: Sequence[Message]) -> Validated:
        """Validate messages ahead of their insert."""

    def write(
        self,
        messages: Sequence[Message],
        token: str,
        seen: SeenTrades,
        in_doubt: bool,
        prepared: Validated | None,
        before_insert: Callable[[], None],
    ) -> InsertOutcome:
        """Insert the messages. Return once everything is durable. `before_insert` may raise to forbid a request."""


@dataclass(frozen=True, slots=True)
class WorkerThreads:
    """The executors of a worker: `decode` for messages that arrive, `insert` (one thread) for inserts."""

    decode: Executor
    insert: Executor


@dataclass(frozen=True, slots=True)
class _Arrived:
    event: Any
    message: Message
    # Seconds of the partition's clock.
    at: float


@dataclass(slots=True)
class Partition:
    """The state of one partition during one assignment. A rebalance discards it.

    `acknowledge` is called with the event of a message once the message is durable, `drop` with the event of a message
    that this worker leaves to the partition's next owner. Faust waits for one of the two calls for every event before a
    rebalance and at the worker's end. `observe` is called after each insert. `clock`: seconds, monotonic.
    """

    topic: str
    number: int
    seen: SeenTrades
    intents: Intents
    writer: Writer
    merge_rows: int
    threads: WorkerThreads
    acknowledge: Callable[[Any], object]
    drop: Callable[[Any], object]
    observe: Callable[[int, OffsetRange, InsertOutcome], object]
    clock: Callable[[], float]
    revoked: bool = False
    waiting_rows: int = 0
    _position: GroupPosition | None = None
    _next: int = -1
    _arrived: deque[_Arrived] = field(default_factory=deque)
    _inserting: int = 0
    _validated_ahead: tuple[OffsetRange, Validated] | None = None

    async def take(self, event: Any) -> None:
        """Decode and queue the message of a Faust event. A message that is committed, or was taken before, is dropped.

        If the messages of the next insert are complete, they are validated.
        """
        message = event.message
        if self._position is None and not self.revoked:
            self._position = await self.intents.position(self.number)
            if self._position is None:
                self.revoke()
            else:
                self._next = self._position.committed
        if self.revoked or message.offset < self._next:
            self.drop(event)
            return
        self._next = message.offset + 1
        at = self.clock()
        # Faust has no timestamp for a message in Kafka's oldest format.
        published_ms = bounded_ms(-1 if message.timestamp is None else round(message.timestamp * 1000))
        decoded = await asyncio.get_running_loop().run_in_executor(
            self.threads.decode, decode_message, self.number, message.offset, published_ms, message.value
        )
        if self.revoked:
            self.drop(event)
            return
        self._arrived.append(_Arrived(event, decoded, at))
        self.waiting_rows += decoded.rows.num_rows
        await self._validate_ahead()

    def revoke(self) -> None:
        """Leave the partition, and every message that is not durable, to the next owner."""
        self.revoked = True
        for arrived in self._arrived:
            self.drop(arrived.event)
        self._arrived.clear()
        self._inserting = self.waiting_rows = 0

    @property
    def waiting_messages(self) -> int:
        """Decoded messages that wait for an insert."""
        return len(self._arrived) - self._inserting

    @property
    def oldest(self) -> float:
        """When (`clock`) the first waiting message arrived. There must be one."""
        return self._arrived[self._inserting].at

    @property
    def in_doubt(self) -> bool:
        """Whether the outcome of an earlier insert is unknown. That insert is repeated before any other one."""
        return self._position is not None and self._position.recorded is not None

    @property
    def can_insert(self) -> bool:
        """Whether `insert_next` would insert: messages wait, and all messages of an insert in doubt have arrived."""
        if self.revoked or self._position is None or not self.waiting_messages:
            return False
        recorded, first = self._position.recorded, self._arrived[0].message
        if recorded is None or (recorded.first, recorded.first_published_ms) != (first.offset, first.published_ms):
            return True
        return self._arrived[-1].message.offset >= recorded.last

    async def insert_next(self) -> None:
        """Insert the next range, if there is one, and acknowledge its messages.

        Raises:
            WorkerStoppedError: the worker stops.
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
        prepared = (
            self._validated_ahead[1]
            if self._validated_ahead is not None and self._validated_ahead[0] == planned
            else None
        )
        self._validated_ahead = None
        outcome = await self._write(batch, planned, generation, in_doubt, prepared)
        if outcome is None:
            return
        self.observe(self.number, planned, outcome)
        # The next owner repeats the recorded range under the same token.
        if self.revoked:
            return
        self._position = GroupPosition(planned.last + 1, None, generation)
        self._inserting = 0
        for _ in batch:
            self.acknowledge(self._arrived.popleft().event)

    async def _write(
        self,
        batch: Sequence[Message],
        planned: OffsetRange,
        generation: int,
        in_doubt: bool,
        prepared: Validated | None,
    ) -> InsertOutcome | None:
        """Record the range, then insert. None: the partition belongs to another worker now."""
        while not self.revoked:
            # A range in doubt is recorded again as well: the broker rejects a worker that has left the group.
            if not await self.intents.record(self.number, planned, generation):
                self.revoke()
                return None
            fence = InsertFence(lambda: self.revoked)
            try:
                return await asyncio.get_running_loop().run_in_executor(
                    self.threads.insert,
                    self.writer.write,
                    batch,
                    planned.token(self.topic, self.number),
                    self.seen,
                    in_doubt,
                    prepared,
                    fence.check,
                )
            except FenceExpiredError:
                # A request before the fence closed may have reached the server.
                in_doubt = True
        return None

    async def _validate_ahead(self) -> None:
        """Validate the messages of the next insert, once no further message can join them."""
        if self._validated_ahead is not None or self.in_doubt or self.waiting_rows <= self.merge_rows:
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
        validated = await asyncio.get_running_loop().run_in_executor(self.threads.decode, self.writer.prepare, batch)
        # Its insert may have begun in the meantime.
        if self.waiting_messages and self._arrived[self._inserting].message.offset == planned.first:
            self._validated_ahead = (planned, validated)

    def _waiting(self, start: int) -> list[WaitingMessage]:
        return [
            WaitingMessage(a.message.offset, a.message.published_ms, a.message.rows.num_rows)
            for a in islice(self._arrived, start, None)
        ]
