"""The worker's membership in its consumer group: complete assignments, quick fetches, commits with metadata.

This is the one module that uses private parts of Faust and aiokafka. pyproject.toml bounds their versions, and
tests/silver/group/test_membership_parts.py fails if an upgrade removes or renames one of them. It relies on:

- Faust's assignor skips a topic that the leader's metadata does not have, which happens just after a broker's restart.
  Every worker would get no partition, and would wait for ever.
- aiokafka calls `metadata` before every join, and waits for a metadata update under way before it calls `assign`.
- An exception of `assign` ends the attempt to join, which is then repeated. The leader stays the leader, and the
  workers that wait for its answer go on waiting.
- Every member gets the assignment of all members, by URL. Faust derives a worker's URL from host and port. Two workers
  on one machine would have the same URL, hence `own_url`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.assignor import PartitionAssignor
from faust.assignor.client_assignment import ClientAssignment
from faust.transport.drivers import aiokafka as driver
from mode import Service

# How long the broker holds a fetch until data comes. Faust's value is 1.5 s. The in-memory broker always waits so long,
# which adds to the latency of every trade. The second value applies when no message has come for `_BUSY_S`, so that an
# idle worker uses little CPU.
FETCH_WAIT_MS = 10
IDLE_FETCH_WAIT_MS = 100
_BUSY_S = 1.0
_CHECK_SECONDS = 0.5
_METADATA_PAUSE_S = 0.2
# Pause after a refused assignment. Shorter than the shortest session, so that the leader stays the leader.
_REFUSED_PAUSE_S = 0.3
# Exit code of a worker that cannot get back into its group.
EXIT_UNRECOVERABLE = 70


class IncompleteAssignmentError(RuntimeError):
    """The leader's metadata or its assignment lacks partitions of a subscribed topic. The group joins again."""


def own_url() -> str:
    """A URL that no other worker has. Faust identifies a member by it."""
    return f"silver://{uuid.uuid4().hex}"


class WholeAssignor(PartitionAssignor):  # type: ignore[misc]
    """Faust's assignor on fresh metadata. It refuses an assignment that leaves out a partition."""

    def __init__(self, app: Any, replicas: int = 0, *, refused: Callable[[IncompleteAssignmentError], object]) -> None:
        """Faust gives the app and the replicas. `refused` is called with every refused assignment."""
        super().__init__(app, replicas)
        self._refused = refused

    def metadata(self, topics: Any) -> Any:
        """The metadata that this member sends when it joins its group."""
        self.app.consumer.refresh_metadata()
        return super().metadata(topics)

    def assign(self, cluster: Any, member_metadata: Any) -> Any:
        """The partitions of each member. Only the group's leader calls this.

        Raises:
            IncompleteAssignmentError: a partition of a subscribed topic would have no owner, or two.
        """
        try:
            return self._whole(cluster, member_metadata)
        except IncompleteAssignmentError as error:
            self._refused(error)
            self.app.consumer.refresh_metadata()
            raise

    def _whole(self, cluster: Any, member_metadata: Any) -> Any:
        wanted = _partitions(cluster, {topic for member in member_metadata.values() for topic in member.subscription})
        assigned = super().assign(cluster, member_metadata)
        owned = sorted(place for member in assigned.values() for place in member.partitions())
        if owned != wanted:
            raise IncompleteAssignmentError(f"the assignor gave out {owned} of the partitions {wanted}")
        return assigned

    @classmethod
    def _get_client_metadata(cls, metadata: Any) -> Any:
        """A member's metadata without its previous assignment.

        Faust cannot divide the previous one if a topic has fewer partitions now. Nothing is lost: a rebalance revokes
        all partitions first.
        """
        client = super()._get_client_metadata(metadata)
        client.assignment = ClientAssignment(actives={}, standbys={})
        return client

    def owned(self, topic: str) -> frozenset[int]:
        """The partitions that have an owner in the latest assignment that this worker knows."""
        by_member: Mapping[str, Mapping[str, list[int]]] = self.external_topics_metadata()
        return frozenset(number for topics in by_member.values() for number in topics.get(topic, ()))


def _partitions(cluster: Any, topics: set[str]) -> list[tuple[str, int]]:
    known = {topic: cluster.partitions_for_topic(topic) for topic in sorted(topics)}
    missing = [topic for topic, numbers in known.items() if not numbers]
    if missing:
        raise IncompleteAssignmentError(
            f"the broker names no partitions of {', '.join(missing)}: it has just started, or the topic does not exist"
        )
    return sorted((topic, number) for topic, numbers in known.items() for number in numbers)


class PacedUpdate:
    """A metadata update that begins at most once in `pause_s`, however often it is called.

    aiokafka looks for the leader of a partition that the broker does not know without a pause, thousands of times a
    second. No worker would learn of the topic meanwhile, so the group could not take the partition back.
    """

    def __init__(self, update: Callable[[], Awaitable[bool]], pause_s: float) -> None:
        self._update = update
        self._pause_s = pause_s
        self._last = -pause_s
        self._next: asyncio.Task[bool] | None = None

    def __call__(self) -> Awaitable[bool]:
        """Begin an update, now or after the pause. The result says whether it brought metadata."""
        if self._next is None or self._next.done():
            self._next = asyncio.get_running_loop().create_task(self._begin())
        return asyncio.shield(self._next)

    def at_once(self) -> None:
        """Begin an update without the pause."""
        self._update()

    async def _begin(self) -> bool:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(self._last + self._pause_s - loop.time(), 0))
        self._last = loop.time()
        return await self._update()


def _with_refusals(join: Callable[[Any], Awaitable[bool]]) -> Callable[[Any], Awaitable[bool]]:
    """aiokafka's attempt to join a group; after a refused assignment it fails without an error, and is repeated.

    The error would also reach Faust's fetches, and end the process.
    """

    async def attempt(subscription: Any) -> bool:
        try:
            return await join(subscription)
        except KafkaError as error:
            if not isinstance(error.__cause__, IncompleteAssignmentError):
                raise
            await asyncio.sleep(_REFUSED_PAUSE_S)
            return False

    return attempt


@dataclass(frozen=True, slots=True)
class Committed:
    """The group's commit for a partition: offset (-1: none), metadata, and the group generation it was read in."""

    offset: int
    metadata: str
    generation: int


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's consumer thread, with short fetches. A commit without metadata never replaces one with metadata."""

    # Without this name, log lines of Faust about its services would appear under this module's name.
    logger = logging.getLogger("faust.transport")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # One commit at a time, so that a repeated commit does not overtake the next one.
        self._commits = asyncio.Lock()
        # Partition → group generation and offset of its latest commit with metadata.
        self._recorded: dict[tuple[str, int], tuple[int, int]] = {}
        self._busy_until = 0.0

    async def on_start(self) -> None:
        """Start the consumer. It joins its group later, when Faust subscribes to the topics."""
        await super().on_start()
        coordinator = self._ensure_consumer()._coordinator
        coordinator._do_rejoin_group = _with_refusals(coordinator._do_rejoin_group)

    async def _fetch_records(self, consumer: Any, *arguments: Any, **options: Any) -> Any:
        records = await super()._fetch_records(consumer, *arguments, **options)
        now = asyncio.get_running_loop().time()
        if records:
            self._busy_until = now + _BUSY_S
        consumer._fetcher._fetch_max_wait_ms = FETCH_WAIT_MS if now < self._busy_until else IDLE_FETCH_WAIT_MS
        return records

    async def committed(self, place: TopicPartition) -> Committed | None:
        """The group's commit; None if the partition is not assigned to this consumer. On this thread's loop only."""
        consumer = self._ensure_consumer()
        if place not in consumer.assignment():
            return None
        generation = consumer._coordinator.generation
        commit = (await consumer._coordinator.fetch_committed_offsets([place])).get(place)
        if commit is None or commit.offset < 0:
            return Committed(-1, "", generation)
        return Committed(commit.offset, commit.metadata, generation)

    async def record(self, place: TopicPartition, offset: int, metadata: str, generation: int) -> bool:
        """Commit an offset with metadata. False: this worker has left that generation of the group.

        On this thread's loop only.

        Raises:
            aiokafka.errors.KafkaError: the broker refused.
        """
        async with self._commits:
            consumer = self._ensure_consumer()
            if consumer._coordinator.generation != generation or place not in consumer.assignment():
                return False
            try:
                await consumer.commit({place: OffsetAndMetadata(offset, metadata)})
            except (CommitFailedError, IllegalStateError):
                return False
            self._recorded[tuple(place)] = (generation, offset)
            return True

    async def _commit(self, offsets: Mapping[Any, int]) -> bool:
        """Faust's commit of acknowledged messages, without offsets that `record` has committed already.

        Faust commits a moment after the acknowledgement. By then the next range may be recorded at the same offset.
        Faust's empty metadata would erase that record while its insert is under way.
        """
        async with self._commits:
            generation = self._ensure_consumer()._coordinator.generation
            newer = {}
            for place, offset in offsets.items():
                recorded_in, recorded = self._recorded.get(tuple(place), (None, -1))
                if recorded_in != generation or offset > recorded:
                    newer[place] = offset
            return bool(await super()._commit(newer)) if newer else True

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # The consumer reads this when it starts. Faust has no setting for it.
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        consumer._client.force_metadata_update = PacedUpdate(consumer._client.force_metadata_update, _METADATA_PAUSE_S)
        return consumer

    def refresh_metadata(self) -> None:
        """Request metadata from the broker, and do not wait for it. On this thread's loop only."""
        self._ensure_consumer()._client.force_metadata_update.at_once()

    def join_again(self) -> None:
        """Leave the group and join it again, so that another member may lead it. Returns at once, from any thread."""
        self.thread_loop.call_soon_threadsafe(self._ensure_consumer()._coordinator.maybe_leave_group)

    async def on_thread_stop(self) -> None:
        """Disconnect from the broker, even from one that is away.

        aiokafka's `stop` cancels a fetch that waits for its next attempt, and then ends with that cancellation itself.
        The thread would die silently, and the worker would wait a minute for it.
        """
        try:
            await super().on_thread_stop()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            await self._ensure_consumer()._client.close()

    @Service.task  # type: ignore[untyped-decorator]
    async def _consume_group_errors(self) -> None:
        """Read errors of the group protocol, so that aiokafka joins again.

        After such an error aiokafka waits until the error is read. `getmany` reads it, but Faust does not call
        `getmany`: the worker would run for ever without partitions.
        """
        log = structlog.get_logger()
        while not self.should_stop:
            coordinator = getattr(self._consumer, "_coordinator", None)
            if coordinator is not None:
                task = getattr(coordinator, "_coordination_task", None)
                try:
                    coordinator.check_errors()
                except KafkaError as error:
                    log.warning("consumer group error, joining again", error=repr(error))
                    if task is not None and task.done() and not self.should_stop:
                        # Only durable messages are acknowledged, so a new process takes over safely.
                        log.exception("consumer group membership is lost for good, ending the process")
                        os._exit(EXIT_UNRECOVERABLE)
            await self.sleep(_CHECK_SECONDS)


class MembershipConsumer(driver.Consumer):  # type: ignore[misc]
    """A consumer that runs in a `ConsumerThread`."""

    logger = logging.getLogger("faust.transport")

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def refresh_metadata(self) -> None:
        """Request metadata from the broker, and do not wait for it. On the consumer's thread only."""
        self._thread.refresh_metadata()


class MembershipTransport(driver.Transport):  # type: ignore[misc]
    """A transport whose consumers are `MembershipConsumer`s."""

    Consumer = MembershipConsumer


class GroupMembership:
    """The worker's requests to its group. Call them on the app's event loop.

    Raises (coroutines):
        aiokafka.errors.KafkaError: the broker refused.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def committed(self, topic: str, partition: int) -> Committed | None:
        """The group's commit for a partition; None if the partition belongs to another worker now."""
        thread, place = self._app.consumer._thread, TopicPartition(topic, partition)
        commit: Committed | None = await thread.call_thread(thread.committed, place)
        return commit

    async def commit(self, topic: str, partition: int, offset: int, metadata: str, generation: int) -> bool:
        """Commit an offset with metadata. False: this worker has left that generation of the group."""
        thread, place = self._app.consumer._thread, TopicPartition(topic, partition)
        return bool(await thread.call_thread(thread.record, place, offset, metadata, generation))

    def drop(self, event: Any) -> None:
        """Give up an event's message without an acknowledgement. The partition's next owner reads it again.

        Before a rebalance and at its end, Faust waits without a limit until every message is acknowledged or given up.
        """
        self._app.consumer.unacked.discard(event.message)

    def join_again(self) -> None:
        """Leave the group and join it again, so that another member may lead it."""
        self._app.consumer._thread.join_again()

    def lag(self) -> dict[int, int]:
        """The number of messages that are not committed, by assigned partition. Partitions without a known end are
        left out.
        """
        consumer = self._app.consumer
        ends = {place: consumer.highwater(place) for place in consumer.assignment()}
        return {
            place.partition: max(end - (consumer._committed_offset.get(place) or 0), 0)
            for place, end in ends.items()
            if end is not None
        }
