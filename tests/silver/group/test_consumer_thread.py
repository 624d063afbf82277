"""The worker's consumer: a recorded range stays recorded until its insert is acknowledged; questions to the broker keep
a pace; a refused assignment is tried again."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from silver_processor.group.membership import (
    FETCH_WAIT_MS,
    IDLE_FETCH_WAIT_MS,
    ConsumerThread,
    IncompleteAssignmentError,
    PacedUpdate,
    _with_refusals,
)

PLACE = TopicPartition("market.crypto.trades.bronze", 3)
SAME = TP(*PLACE)


class Consumer:
    """A consumer whose fetcher is asked for messages."""

    def __init__(self) -> None:
        self._fetcher = SimpleNamespace(_fetch_max_wait_ms=0)


def test_fetches_wait_long_when_nothing_comes_and_shortly_while_messages_do(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[tuple[dict[TopicPartition, list[str]], float]] = []
    now = 1_000.0

    async def answer(_thread: Any, _consumer: Any, *_: Any, **__: Any) -> dict[TopicPartition, list[str]]:
        nonlocal now
        records, took = answers.pop(0)
        now += took
        return records

    async def scenario() -> None:
        monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", answer)
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
        thread, consumer = ConsumerThread.__new__(ConsumerThread), Consumer()
        thread._busy_until = 0.0
        for records, took, wait_ms in (
            ({}, 1.0, IDLE_FETCH_WAIT_MS),
            ({PLACE: ["a trade"]}, 5.0, FETCH_WAIT_MS),
            ({}, 0.9, FETCH_WAIT_MS),
            ({PLACE: ["a trade"]}, 0.1, FETCH_WAIT_MS),
            ({}, 1.0, IDLE_FETCH_WAIT_MS),
        ):
            answers.append((records, took))
            assert await thread._fetch_records(consumer, {PLACE}, timeout=1.0) == records
            assert consumer._fetcher._fetch_max_wait_ms == wait_ms

    asyncio.run(scenario())
    assert FETCH_WAIT_MS < IDLE_FETCH_WAIT_MS


class Broker:
    """The group's commits in the order they reached it, and the consumer that makes them."""

    def __init__(self) -> None:
        self.commits: list[tuple[int, str]] = []
        self._coordinator = SimpleNamespace(generation=7)
        self.slow = asyncio.Event()
        self.slow.set()

    def assignment(self) -> set[TopicPartition]:
        return {PLACE}

    def rebalance(self) -> None:
        self._coordinator.generation += 1

    async def commit(self, offsets: dict[TopicPartition, Any]) -> None:
        await self.slow.wait()
        self.commits += [(stored.offset, stored.metadata) for stored in offsets.values()]


@pytest.fixture
def thread() -> Callable[[Broker], Any]:
    def build(broker: Broker) -> Any:
        made = ConsumerThread.__new__(ConsumerThread)
        made._commits, made._recorded = asyncio.Lock(), {}
        made.tp_last_committed_at = {}
        made._ensure_consumer = lambda: broker
        made.assignment = broker.assignment
        return made

    return build


def test_an_acknowledgement_of_the_batch_before_does_not_erase_the_record(thread: Callable[[Broker], Any]) -> None:
    """Faust commits up to 0.1 s after the acknowledgement; by then the next range is recorded at the same offset."""

    async def scenario() -> None:
        broker = Broker()
        quick = thread(broker)
        assert await quick.record(PLACE, 5, "5-9:1", 7)
        assert await quick._commit({SAME: 5})
        assert await quick._commit({SAME: 4})
        assert broker.commits == [(5, "5-9:1")]
        assert await quick._commit({SAME: 10})
        assert broker.commits == [(5, "5-9:1"), (10, "")]

    asyncio.run(scenario())


def test_a_commit_under_way_does_not_overtake_a_record(thread: Callable[[Broker], Any]) -> None:
    async def scenario() -> None:
        broker = Broker()
        quick = thread(broker)
        broker.slow.clear()
        acknowledged = asyncio.create_task(quick._commit({SAME: 5}))
        await asyncio.sleep(0)
        recorded = asyncio.create_task(quick.record(PLACE, 5, "5-9:1", 7))
        await asyncio.sleep(0)
        broker.slow.set()
        await asyncio.gather(acknowledged, recorded)
        assert broker.commits == [(5, ""), (5, "5-9:1")]

    asyncio.run(scenario())


def test_a_worker_whose_group_has_moved_on_records_nothing(thread: Callable[[Broker], Any]) -> None:
    async def scenario() -> None:
        broker = Broker()
        quick = thread(broker)
        assert await quick.record(PLACE, 5, "5-9:1", 7)
        broker.rebalance()
        assert not await quick.record(PLACE, 10, "10-12:1", 7)
        # In the new generation the group may stand elsewhere: an old record holds nothing back.
        assert await quick._commit({SAME: 3})
        assert broker.commits == [(5, "5-9:1"), (3, "")]

    asyncio.run(scenario())


def test_metadata_that_is_asked_for_without_a_pause_comes_at_a_pace() -> None:
    """aiokafka's fetcher asks again as soon as the answer lacks the partition: thousands of times a second."""

    async def scenario() -> None:
        asked: list[float] = []
        loop = asyncio.get_running_loop()

        async def update() -> bool:
            asked.append(loop.time())
            return True

        paced = PacedUpdate(update, 0.05)
        begun = loop.time()
        assert await paced()
        assert loop.time() - begun < 0.05, "the first is not held back"
        for _ in range(3):
            # Two who ask at once get one answer.
            assert await asyncio.gather(paced(), paced()) == [True, True]
        assert len(asked) == 4
        assert all(later - earlier >= 0.05 for earlier, later in itertools.pairwise(asked))

    asyncio.run(scenario())


def test_a_refused_assignment_is_no_error_and_any_other_is() -> None:
    async def scenario() -> None:
        error: Exception = IncompleteAssignmentError("no partitions")

        async def join(_subscription: object) -> bool:
            # As aiokafka hands on what an assignor raises.
            raise KafkaError(repr(error)) from error

        assert not await _with_refusals(join)(None)
        error = AssertionError("a fault of the assignor")
        with pytest.raises(KafkaError):
            await _with_refusals(join)(None)

    asyncio.run(scenario())
