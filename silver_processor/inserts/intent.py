"""The range an insert is about to cover, recorded in the consumer group before the insert.

The record is the metadata of a commit of the *first* offset. A commit is fenced by the group's generation: whoever
takes the partition over sees either the range and repeats it under the same token, or the fenced worker has failed to
record and did not insert. The record also names the rules the batch is judged by, so that a repetition makes the same
rows. Faust has no interface for commit metadata: `silver_processor.group.transport` adds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiokafka.errors import CommitFailedError, IllegalStateError
from aiokafka.structs import TopicPartition

from silver_processor.batching.plan import Range
from silver_processor.inserts.rulebook import RuleBook

# Before migration 0027 it was ";". Such a record is not read: its token says nothing to the table that Gold has since.
# The migration has seen that its insert is in Silver and Gold or in neither: its messages are redeliveries, or new.
_RULES = "|"


@dataclass(frozen=True, slots=True)
class Position:
    """Where the group stands in a partition: the committed offset (-1: none), the range recorded there, and the
    group generation in which that was read."""

    committed: int
    recorded: Range | None
    generation: int


class Journal:
    """Reads and records ranges through the worker's own group membership."""

    def __init__(self, app: Any, topic: str, rules: RuleBook) -> None:
        self._app = app
        self._topic = topic
        self._rules = rules

    async def position(self, partition: int) -> Position | None:
        """The group's position, or None where the partition is not this worker's any more.

        Raises:
            aiokafka.errors.KafkaError: the broker refused.
        """
        thread, place = self._app.consumer._thread, TopicPartition(self._topic, partition)

        async def read() -> Position | None:
            consumer = thread._ensure_consumer()
            if place not in consumer.assignment():
                return None
            generation = consumer._coordinator.generation
            found = (await consumer._coordinator.fetch_committed_offsets([place])).get(place)
            if found is None or found.offset < 0:
                return Position(-1, None, generation)
            text, _, rules_version = found.metadata.partition(_RULES)
            recorded = Range.parse(text)
            if recorded is not None and rules_version:
                self._rules.recall(recorded.token(self._topic, partition), rules_version)
            return Position(found.offset, recorded, generation)

        position: Position | None = await thread.call_thread(read)
        return position

    async def record(self, partition: int, planned: Range, generation: int) -> bool:
        """Record the range at its first offset; False: the group has moved on since `generation`, do not insert.

        Raises:
            aiokafka.errors.KafkaError: the broker refused for another reason.
        """
        thread, place = self._app.consumer._thread, TopicPartition(self._topic, partition)
        rules_version = self._rules.pin(planned.token(self._topic, partition))

        async def commit() -> bool:
            try:
                return bool(await thread.record(place, planned.first, f"{planned}{_RULES}{rules_version}", generation))
            except (CommitFailedError, IllegalStateError):
                return False

        return bool(await thread.call_thread(commit))
