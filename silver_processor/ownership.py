"""Watches for partitions of the Bronze topic without an owner. A worker reports them, joins its group again, and ends
if neither helps.

The leader refuses an assignment that leaves out a partition (`silver_processor.group.membership`). Every worker also
compares the assignment with the broker's partitions. This finds a leader that knows too few partitions, a group without
an assignment, and a missing topic. A broker that does not answer proves nothing, so the worker waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum

import structlog
from confluent_kafka import KafkaException

from silver_processor.group.backlog import PartitionBacklog
from silver_processor.metrics import SilverMetrics

# The worker joins its group again each time this share of the limit has passed.
_REJOIN_SHARE = 0.25


class Remedy(Enum):
    """What to do about partitions without an owner."""

    NONE = "none"
    REJOIN = "join the group again"
    END = "end the process"


class Escalation:
    """Chooses the remedy by how long the trouble has lasted. Times are in seconds of any monotonic clock."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._since: float | None = None
        self._next_rejoin = 0.0

    def reset(self) -> None:
        """Nothing is wrong, or the broker does not answer."""
        self._since = None

    def remedy(self, now: float) -> Remedy:
        """What to do about the trouble at `now`."""
        if self._since is None:
            self._since, self._next_rejoin = now, now + self._limit_s * _REJOIN_SHARE
        if now - self._since >= self._limit_s:
            return Remedy.END
        if now < self._next_rejoin:
            return Remedy.NONE
        self._next_rejoin = now + self._limit_s * _REJOIN_SHARE
        return Remedy.REJOIN


class Ownership:
    """Compares the latest assignment with the topic's partitions, and applies the remedy."""

    def __init__(
        self,
        topic: str,
        owned: Callable[[], frozenset[int]],
        measure: Callable[[], Iterable[PartitionBacklog]],
        metrics: SilverMetrics,
        escalation: Escalation,
        clock: Callable[[], float],
        rejoin: Callable[[], None],
        end: Callable[[], None],
    ) -> None:
        """Nothing is checked yet.

        `owned`: returns the partitions with an owner in the latest assignment. `measure`: requests the backlog from the
        broker and blocks; it raises KafkaException if the broker does not answer. `clock`: seconds, monotonic.
        `rejoin`, `end`: the remedies.
        """
        self._topic = topic
        self._owned = owned
        self._measure = measure
        self._metrics = metrics
        self._escalation = escalation
        self._clock = clock
        self._rejoin = rejoin
        self._end = end
        self._log = structlog.get_logger()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ownership")
        self._assigned = False
        self._trouble = ""
        self._closed = False

    def assigned(self) -> None:
        """The group has an assignment."""
        self._assigned = True

    def revoked(self) -> None:
        """The group makes a new assignment."""
        self._assigned = False

    @property
    def unready(self) -> str:
        """Why this worker or its group is not ready; "" if both are, as far as this worker knows."""
        if not self._assigned:
            return self._trouble or "the group has no assignment yet"
        if not self._owned():
            return f"the group's assignment holds no partition of {self._topic}"
        return self._trouble

    async def watch(self, every_s: float) -> None:
        """Check every `every_s` seconds until `close` is called or the task is cancelled."""
        while not self._closed:
            await self.check()
            await asyncio.sleep(every_s)

    async def check(self) -> None:
        """Read the backlog from the broker, set the metrics, apply the remedy."""
        try:
            backlogs = await asyncio.get_running_loop().run_in_executor(self._thread, lambda: list(self._measure()))
        except KafkaException as error:
            self._log.debug("partition owners not checked", error=str(error))
            self._escalation.reset()
            return
        owned = self._owned() if self._assigned else frozenset()
        unowned = [backlog for backlog in backlogs if backlog.partition not in owned]
        waiting = sum(backlog.messages for backlog in unowned)
        self._metrics.unowned_partitions.set(len(unowned))
        self._metrics.unowned_messages.set(waiting)
        self._trouble = self._describe(backlogs, unowned, waiting)
        if not self._trouble:
            self._escalation.reset()
            return
        self._apply(self._escalation.remedy(self._clock()))

    def _describe(self, backlogs: list[PartitionBacklog], unowned: list[PartitionBacklog], waiting: int) -> str:
        if not backlogs:
            return f"the broker names no partitions of {self._topic}: create it, or let this user see it"
        if not self._assigned:
            return f"the group has no assignment, {waiting} messages wait in {self._topic}"
        if unowned:
            numbers = ", ".join(str(backlog.partition) for backlog in unowned)
            return f"no worker owns these partitions of {self._topic}: {numbers}; {waiting} messages wait there"
        return ""

    def _apply(self, remedy: Remedy) -> None:
        if remedy is Remedy.NONE:
            return
        self._log.error("partitions without an owner", reason=self._trouble, remedy=remedy.value)
        if remedy is Remedy.END:
            # Only durable messages are acknowledged, so a new process takes over safely.
            self._end()
        elif self._assigned:
            self._rejoin()

    def close(self) -> None:
        """Stop checking."""
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)
