"""One Bronze partition's waiting messages, from arrival to acknowledgement."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from silver_processor.batch import Message, read
from silver_processor.journal import Position
from silver_processor.plan import MOST_ROWS, Range, Waiting, next_range
from silver_processor.seen import SeenTrades
from silver_processor.sink import Outcome


class Recorder(Protocol):
    """Where planned ranges are recorded (see `silver_processor.journal.Journal`)."""

    async def position(self, partition: int) -> Position | None:
        """Where the group stands, or None: not ours."""

    async def record(self, partition: int, planned: Range, generation: int) -> bool:
        """Record before the insert; False: do not insert."""


class Writer(Protocol):
    """Makes messages durable (see `silver_processor.sink.Sink`)."""

    def write(self, messages: Sequence[Message], token: str, seen: SeenTrades, in_doubt: bool) -> Outcome:
        """Return once everything is durable."""


@dataclass(slots=True)
class Partition:
    """State of one partition during one assignment; a rebalance throws it away.

    `acknowledge` gets the last event of each insert's messages only after these are durable.
    """

    topic: str
    number: int
    seen: SeenTrades
    recorder: Recorder
    writer: Writer
    merge_rows: int
    executor: Executor
    acknowledge: Callable[[Any], object]
    observe: Callable[[int, Range, Outcome], object]
    revoked: bool = False
    _position: Position | None = None
    _next: int = -1
    _events: deque[Any] = field(default_factory=deque)
    _messages: deque[Message] = field(default_factory=deque)

    async def take(self, event: Any) -> None:
        """Queue an event (`event.message`: a Kafka message); one that was taken before is left out."""
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
        loop = asyncio.get_running_loop()
        published_ms = round(message.timestamp * 1000)
        decoded = await loop.run_in_executor(
            self.executor, read, self.number, message.offset, published_ms, message.value
        )
        self._events.append(event)
        self._messages.append(decoded)

    @property
    def waiting_rows(self) -> int:
        """Rows that are decoded and not yet inserted."""
        return sum(message.rows.num_rows for message in self._messages)

    async def process(self) -> None:
        """Insert what can be planned now, one insert after the other, acknowledging each.

        Raises:
            StoppedError: the worker stops.
        """
        while not self.revoked and self._position is not None:
            waiting = [Waiting(m.offset, m.published_ms, m.rows.num_rows) for m in islice(self._messages, MOST_ROWS)]
            planned = next_range(waiting, self._position.recorded, self.merge_rows)
            if planned is None:
                return
            in_doubt = planned == self._position.recorded
            generation = self._position.generation
            if not in_doubt and not await self.recorder.record(self.number, planned, generation):
                self.revoked = True
                return
            if self.revoked:
                return
            batch = [message for message in self._messages if message.offset <= planned.last]
            outcome = await asyncio.get_running_loop().run_in_executor(
                self.executor,
                self.writer.write,
                batch,
                planned.token(self.topic, self.number),
                self.seen,
                in_doubt,
            )
            self.observe(self.number, planned, outcome)
            # Whoever owns the partition now repeats the recorded range under the same token.
            if self.revoked:
                return
            self._position = Position(planned.last + 1, None, generation)
            for _ in batch:
                self._messages.popleft()
                self.acknowledge(self._events.popleft())
