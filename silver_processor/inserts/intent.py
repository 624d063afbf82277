"""The insert intent and the insert fence: they keep two owners of a partition from inserting the same trades.

The intent is the range that an insert is about to cover. It is recorded before the insert, as the metadata of a commit
of the range's *first* offset. The broker rejects the commit of a worker that has left the group. So the next owner
either sees the range and repeats the insert under the same token, or the worker failed to record it and did not insert.
The intent also names the rules version, so that a repetition makes the same rows.

ClickHouse does not know the group: it accepts an insert from any worker. A worker that was stopped after it recorded
its intent (SIGSTOP, a suspended machine, a server that was away for hours) may have lost its partition. Its late insert
is harmless only while the server remembers the token. So the fence allows requests only within a minute of the record.
After that the worker has to record the intent again, which the broker rejects if the worker has left the group.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from silver_processor.batching.ranges import OffsetRange
from silver_processor.group.membership import GroupMembership
from silver_processor.inserts.rulebook import RuleBook

FENCE_S = 60.0
# This clock also runs while the machine is suspended. Linux only.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
# Separates range and rules version. Versions before migration 0027 wrote ";". An intent with ";" is ignored, because
# the present table of Gold does not know its token. The migration has checked that its insert is in both Silver and
# Gold or in neither, so each of its messages is either a redelivery or new.
_SEPARATOR = "|"


@dataclass(frozen=True, slots=True)
class GroupPosition:
    """The group's position in a partition.

    `committed`: the committed offset, -1 if there is none. `recorded`: the insert intent at that offset. `generation`:
    the group's generation in which both were read.
    """

    committed: int
    recorded: OffsetRange | None
    generation: int


class InsertIntents:
    """Reads and records insert intents, as a member of the worker's consumer group."""

    def __init__(self, membership: GroupMembership, topic: str, rules: RuleBook) -> None:
        self._membership, self._topic, self._rules = membership, topic, rules

    async def position(self, partition: int) -> GroupPosition | None:
        """The group's position; None if the partition belongs to another worker now.

        Raises:
            aiokafka.errors.KafkaError: the broker refused.
        """
        commit = await self._membership.committed(self._topic, partition)
        if commit is None:
            return None
        text, _, rules_version = commit.metadata.partition(_SEPARATOR)
        recorded = OffsetRange.parse(text)
        if recorded is not None and rules_version:
            self._rules.recall(recorded.token(self._topic, partition), rules_version)
        return GroupPosition(commit.offset, recorded, commit.generation)

    async def record(self, partition: int, planned: OffsetRange, generation: int) -> bool:
        """Record the range at its first offset. False: this worker has left the group, so it must not insert.

        Raises:
            aiokafka.errors.KafkaError: the broker refused for another reason.
        """
        rules_version = self._rules.pin(planned.token(self._topic, partition))
        metadata = f"{planned}{_SEPARATOR}{rules_version}"
        return await self._membership.commit(self._topic, partition, planned.first, metadata, generation)


class FenceExpiredError(RuntimeError):
    """The intent was recorded too long ago, or the partition is revoked: record the intent again before the insert."""


def boot_clock() -> float:
    """Seconds since the machine started, including the time it was suspended."""
    return time.clock_gettime(_CLOCK)


class InsertFence:
    """Allows requests for `FENCE_S` seconds (of `clock`) after it was made, and not after the partition is revoked."""

    def __init__(self, is_revoked: Callable[[], bool], clock: Callable[[], float] = boot_clock) -> None:
        self._is_revoked, self._clock = is_revoked, clock
        self._since = clock()

    def check(self) -> None:
        """Call this before every request to insert.

        Raises:
            FenceExpiredError: the partition is lost, or may be.
        """
        if self._is_revoked() or self._clock() - self._since > FENCE_S:
            raise FenceExpiredError("the partition was revoked, or its insert intent was recorded too long ago")
