"""Faust's Kafka transport, with fetches that answer at once and a group membership that survives errors."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import faust
import structlog
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver
from mode import Service

from config.connections import tls_context
from config.settings import Settings
from silver_processor.group.assignment import IncompleteAssignmentError

# Faust asks the broker to hold a fetch for 1.5 s until data comes. A broker that does not answer early (the in-memory
# one) would add that to every trade's latency. The first holds while messages come, the second when none has come for a
# second: an idle worker costs next to nothing.
FETCH_WAIT_MS = 10
IDLE_FETCH_WAIT_MS = 100
_BUSY_S = 1.0
_CHECK_SECONDS = 0.5
_METADATA_PAUSE_S = 0.2
# Shorter than the shortest session: the leader that refuses stays the leader.
_REFUSED_PAUSE_S = 0.3
#: Exit code of a worker that ends itself because it can't get back into its group.
EXIT_UNRECOVERABLE = 70


def credentials(settings: Settings) -> Any:
    """Faust's `broker_credentials`; None where the broker wants neither a name nor TLS.

    Raises:
        OSError: `kafka_ca_file` cannot be read or holds no certificate.
    """
    context = tls_context(settings.kafka_ca_file) if settings.kafka_has_tls else None
    if settings.kafka_has_sasl:
        return faust.SASLCredentials(
            username=settings.kafka_sasl_username,
            password=settings.kafka_sasl_password.get_secret_value(),
            mechanism=settings.kafka_sasl_mechanism,
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)


class Paced:
    """Metadata updates that are asked for again and again begin at most once in `pause_s`.

    aiokafka asks without a pause for the leader of a partition that the broker does not know, thousands of times a
    second; the group cannot take the partition back meanwhile, since nobody knows the topic.
    """

    def __init__(self, update: Callable[[], Awaitable[bool]], pause_s: float) -> None:
        self._update = update
        self._pause_s = pause_s
        self._last = -pause_s
        self._next: asyncio.Task[bool] | None = None

    def __call__(self) -> Awaitable[bool]:
        """Whether metadata came, of an update that begins now or after the pause."""
        if self._next is None or self._next.done():
            self._next = asyncio.get_running_loop().create_task(self._begin())
        return asyncio.shield(self._next)

    async def _begin(self) -> bool:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(self._last + self._pause_s - loop.time(), 0))
        self._last = loop.time()
        return await self._update()


def _joining(join: Callable[[Any], Awaitable[bool]]) -> Callable[[Any], Awaitable[bool]]:
    """aiokafka's attempt to join, for which a refused assignment is no error: it is tried again after a pause.

    As an error it would reach Faust's fetches as well and end the process.
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


class QuickThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """The consumer's thread: its fetches wait shortly while messages come, its commits leave recorded ranges alone."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # One commit at a time: one that is tried again must not overtake the next.
        self._commits = asyncio.Lock()
        # Partition → group generation and offset of its latest record.
        self._recorded: dict[tuple[str, int], tuple[int, int]] = {}
        self._busy_until = 0.0

    async def on_start(self) -> None:
        """Start the consumer; it joins its group when it is told the topics, which comes later."""
        await super().on_start()
        coordinator = self._ensure_consumer()._coordinator
        coordinator._do_rejoin_group = _joining(coordinator._do_rejoin_group)

    async def _fetch_records(self, consumer: Any, *arguments: Any, **options: Any) -> Any:
        records = await super()._fetch_records(consumer, *arguments, **options)
        now = asyncio.get_running_loop().time()
        if records:
            self._busy_until = now + _BUSY_S
        consumer._fetcher._fetch_max_wait_ms = FETCH_WAIT_MS if now < self._busy_until else IDLE_FETCH_WAIT_MS
        return records

    async def record(self, place: TopicPartition, offset: int, metadata: str, generation: int) -> bool:
        """Commit an offset with metadata; False where the group has moved on since `generation`.

        On this thread's loop only.

        Raises:
            aiokafka.errors.KafkaError: the broker refused.
        """
        async with self._commits:
            consumer = self._ensure_consumer()
            if consumer._coordinator.generation != generation or place not in consumer.assignment():
                return False
            await consumer.commit({place: OffsetAndMetadata(offset, metadata)})
            self._recorded[tuple(place)] = (generation, offset)
            return True

    async def _commit(self, offsets: Mapping[Any, int]) -> bool:
        """Faust's commit of what was acknowledged, without the offsets that a record has committed already.

        Faust commits a moment after the acknowledgement, when the next range may be recorded at that very offset:
        its empty metadata would erase the record while the insert is under way.
        """
        async with self._commits:
            generation = self._ensure_consumer()._coordinator.generation
            left = {}
            for place, offset in offsets.items():
                recorded_in, recorded = self._recorded.get(tuple(place), (None, -1))
                if recorded_in != generation or offset > recorded:
                    left[place] = offset
            return bool(await super()._commit(left)) if left else True

    # Otherwise Faust's news of its services would count as ours.
    logger = logging.getLogger("faust.transport")

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Read when the consumer starts; Faust has no setting for it.
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        self.app.assignor.refresh = consumer._client.force_metadata_update
        consumer._client.force_metadata_update = Paced(consumer._client.force_metadata_update, _METADATA_PAUSE_S)
        return consumer

    def join_again(self) -> None:
        """Leave the group and join it anew, so that another member may lead it. Returns at once, from any thread."""
        self.thread_loop.call_soon_threadsafe(self._ensure_consumer()._coordinator.maybe_leave_group)

    async def on_thread_stop(self) -> None:
        """Leave the broker, also one that is away.

        A fetch that waits to be tried again ends aiokafka's `stop` by the cancellation that `stop` itself asked for.
        The thread would die of it without a word, and the worker wait a minute for it.
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
        """Take errors of the group protocol off aiokafka's hands, so that it joins again.

        After one, aiokafka waits until somebody looks at it. `getmany` does; Faust fetches past it and would
        hang for ever, alive and without partitions.
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
                        # Nothing is acknowledged that is not durable: a new process takes over.
                        log.exception("consumer group membership is lost for good, ending the process")
                        os._exit(EXIT_UNRECOVERABLE)
            await self.sleep(_CHECK_SECONDS)


class QuickConsumer(driver.Consumer):  # type: ignore[misc]
    """A consumer that runs in a `QuickThread`."""

    logger = logging.getLogger("faust.transport")

    def _new_consumer_thread(self) -> QuickThread:
        return QuickThread(self, loop=self.loop, beacon=self.beacon)


class QuickTransport(driver.Transport):  # type: ignore[misc]
    """A transport whose consumers are `QuickConsumer`s."""

    Consumer = QuickConsumer
