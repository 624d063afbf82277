"""Invariant: no worker idles, called ready, while a partition of Bronze has no owner."""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from confluent_kafka import KafkaError, KafkaException, Producer
from faust.assignor import PartitionAssignor

from deploy.embedded.broker import InMemoryBroker
from silver_processor.group.backlog import PartitionBacklog
from silver_processor.group.membership import EXIT_UNRECOVERABLE
from silver_processor.metrics import SilverMetrics
from silver_processor.ownership import Escalation, Ownership, Remedy
from tests.silver.group.test_assignment import member
from tests.silver.stack import free_port, wait_until

BRONZE = "market.crypto.trades.bronze"
PARTITIONS = 4


class Broker(InMemoryBroker):
    """One that can forget a topic for a while, as Kafka does until it has read its own log after a restart."""

    def knows(self, topic: str, known: bool) -> None:
        error = KafkaError.NO_ERROR if known else KafkaError.UNKNOWN_TOPIC_OR_PART
        self._library.rd_kafka_mock_topic_set_error(ctypes.c_void_p(self._cluster), topic.encode(), error)


@pytest.fixture
def broker() -> Iterator[Broker]:
    made = Broker({BRONZE: PARTITIONS, "market.crypto.trades.dlq": 1})
    yield made
    made.close()


class Worker:
    """A Silver worker without ClickHouse, which it waits for."""

    def __init__(self, folder: Path, broker: Broker, **environment: str) -> None:
        self.port = free_port()
        self.log = folder / f"worker-{self.port}.log"
        settings = {
            "MEDALLION_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "MEDALLION_CLICKHOUSE_PORT": str(free_port()),
            "MEDALLION_CLICKHOUSE_HTTP_PORT": str(free_port()),
            "MEDALLION_METRICS_PORT": str(self.port),
            "MEDALLION_SILVER_SESSION_TIMEOUT_MS": "2000",
        }
        with self.log.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "silver_processor"],
                env={**os.environ, **settings, **environment},
                stdout=said,
                stderr=said,
            )

    def unready(self) -> str:
        """Why it is not ready, as it says itself."""
        try:
            self._get("readyz")
        except urllib.error.HTTPError as error:
            return error.read().decode()
        return ""

    def metric(self, name: str) -> float:
        values = dict(line.rsplit(" ", 1) for line in self._get("metrics").splitlines() if not line.startswith("#"))
        return float(values[name])

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def start(tmp_path: Path, broker: Broker) -> Iterator[Callable[..., Worker]]:
    workers: list[Worker] = []

    def started(**environment: str) -> Worker:
        workers.append(Worker(tmp_path, broker, **environment))
        return workers[-1]

    yield started
    for one in workers:
        one.kill()


# Its siblings: test_assignment.py has the leader that does not know the topic, test_a_topic_that_is_not_there what
# follows, and the storm on Apache Kafka starts the broker again.
@pytest.mark.nightly
def test_a_leader_that_rejoins_before_the_broker_knows_the_topic(broker: Broker, start: Callable[..., Worker]) -> None:
    """Storm 625283802: nobody got a partition, both workers were called healthy, and stood still for good."""
    leader, doomed = start(), start()
    wait_until(lambda: not leader.unready() and not doomed.unready())
    broker.knows(BRONZE, False)
    doomed.kill()
    late = start()
    wait_until(lambda: leader.metric("medallion_silver_refused_assignments_total") > 0)
    wait_until(lambda: "names no partitions" in leader.unready() and late.unready())
    broker.knows(BRONZE, True)
    # Without a refusal only the next look at the metadata, five minutes later, would help.
    wait_until(lambda: not leader.unready() and not late.unready(), 60)
    wait_until(lambda: leader.metric("medallion_silver_unowned_partitions") == 0)


class Careless(PartitionAssignor):  # type: ignore[misc]
    """A leader of another version, which gives nobody a partition."""

    def assign(self, cluster: Any, member_metadata: Any) -> Any:
        cluster._partitions.pop(BRONZE, None)
        return super().assign(cluster, member_metadata)


@contextmanager
def careless_leader(broker: Broker) -> Iterator[None]:
    """A group with such a leader."""
    ready, done = asyncio.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def lead() -> None:
        consumer = AIOKafkaConsumer(
            BRONZE, bootstrap_servers=broker.bootstrap_servers, group_id="silver", session_timeout_ms=30_000,
            partition_assignment_strategy=[Careless(member().app)], enable_auto_commit=False,
        )  # fmt: skip
        await consumer.start()
        try:
            polling = asyncio.create_task(poll(consumer))
            await done.wait()
            polling.cancel()
        finally:
            await consumer.stop()

    async def poll(consumer: AIOKafkaConsumer) -> None:
        while True:
            await consumer.getmany(timeout_ms=200)
            if consumer._coordinator.generation > 0:
                ready.set()

    thread = threading.Thread(target=loop.run_until_complete, args=(lead(),))
    thread.start()
    wait_until(ready.is_set)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()


@pytest.mark.nightly
def test_a_follower_of_a_leader_that_gives_nobody_anything(broker: Broker, start: Callable[..., Worker]) -> None:
    """It cannot refuse: it says what waits and joins again, after which another leads, or it ends."""
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
    for number in range(25):
        producer.produce(BRONZE, value=b"waits", partition=number % PARTITIONS)
    assert producer.flush(30) == 0
    with careless_leader(broker):
        follower = start(MEDALLION_SILVER_UNOWNED_LIMIT_S="40")
        wait_until(lambda: follower.metric("medallion_silver_unowned_messages") == 25)
        assert follower.metric("medallion_silver_unowned_partitions") == PARTITIONS
        assert follower.unready()
        wait_until(lambda: follower.process.poll() == EXIT_UNRECOVERABLE or not follower.unready())
    said = follower.log.read_text()
    assert "join the group again" in said
    assert "25 messages wait" in said


# The same without processes: `test_a_topic_that_is_not_there`, `test_what_lasts_ends_the_process`.
@pytest.mark.nightly
def test_a_topic_that_stays_away_ends_the_worker(broker: Broker, start: Callable[..., Worker]) -> None:
    """It has never had an assignment, and says so from its first moment; a supervisor starts it again."""
    broker.knows(BRONZE, False)
    worker = start(MEDALLION_SILVER_UNOWNED_LIMIT_S="8")
    wait_until(lambda: "create it" in worker.unready())
    assert worker.process.wait(60) == EXIT_UNRECOVERABLE
    last = worker.log.read_text().splitlines()[-1]
    assert "end the process" in last
    assert "create it" in last


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Group:
    """An `Ownership`, what it is told and what it does."""

    def __init__(self, places: dict[int, int], owned: set[int]) -> None:
        self.places: dict[int, int] | None = places
        self.owned = owned
        self.clock, self.metrics = Clock(), SilverMetrics()
        self.done: list[str] = []
        self.ownership = Ownership(
            BRONZE, lambda: frozenset(self.owned), self._measure, self.metrics, Escalation(100.0), self.clock,
            rejoin=lambda: self.done.append("rejoin"), end=lambda: self.done.append("end"),
        )  # fmt: skip

    def _measure(self) -> list[PartitionBacklog]:
        if self.places is None:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return [PartitionBacklog(BRONZE, number, 10, 0, 10 + waiting) for number, waiting in self.places.items()]

    def after(self, seconds: float) -> list[str]:
        """What has been done when it looks again so many seconds later."""
        self.clock.now += seconds
        asyncio.run(self.ownership.check())
        return self.done

    def shown(self) -> tuple[float | None, float | None]:
        get = self.metrics.registry.get_sample_value
        return get("medallion_silver_unowned_partitions"), get("medallion_silver_unowned_messages")


def test_a_worker_without_a_partition_is_ready_where_others_own_them_all() -> None:
    group = Group({0: 5, 1: 7}, {0, 1})
    assert group.ownership.unready
    group.ownership.assigned()
    assert group.after(5) == []
    assert not group.ownership.unready
    assert group.shown() == (0, 0)
    assert group.after(1e6) == []


def test_new_partitions_that_the_leader_does_not_see() -> None:
    group = Group({0: 5, 1: 7, 2: 11}, {0, 1})
    group.ownership.assigned()
    assert not group.ownership.unready
    assert group.after(0) == []
    assert "11 messages" in group.ownership.unready
    assert group.shown() == (1, 11)
    assert group.after(24) == []
    assert group.after(1) == ["rejoin"]
    # The leader has seen it meanwhile.
    group.owned = {0, 1, 2}
    assert group.after(5) == ["rejoin"]
    assert not group.ownership.unready
    # The next time is counted from its own beginning.
    group.places = {0: 0, 1: 0, 2: 0, 3: 0}
    assert group.after(500) == ["rejoin"]
    assert group.shown() == (1, 0)


def test_what_lasts_ends_the_process() -> None:
    group = Group({0: 0}, set())
    group.ownership.assigned()
    assert "no partition" in group.ownership.unready
    for _ in range(10):
        group.after(10)
        assert group.done.count("end") == 0
    assert group.done == ["rejoin"] * 3
    assert group.after(10)[-1] == "end"


def test_a_group_that_comes_to_no_assignment() -> None:
    """Joining again is under way already: only the end is left."""
    group = Group({0: 3}, {0})
    group.ownership.assigned()
    group.after(5)
    group.ownership.revoked()
    assert group.ownership.unready
    assert group.after(5) == []
    assert group.shown() == (1, 3)
    assert group.after(60) == []
    assert group.after(40) == ["end"]


def test_a_topic_that_is_not_there() -> None:
    group = Group({}, {0})
    group.ownership.assigned()
    group.after(0)
    assert "create it" in group.ownership.unready
    assert group.after(100)[-1] == "end"


def test_a_broker_that_is_away_is_waited_for() -> None:
    group = Group({0: 3, 1: 0}, {0})
    group.ownership.assigned()
    group.after(0)
    group.after(90)
    group.done.clear()
    group.places = None
    assert group.after(1e6) == []
    group.places = {0: 3, 1: 0}
    assert group.after(5) == []


def test_remedies_by_the_time_that_trouble_lasts() -> None:
    escalation = Escalation(8.0)
    found = [escalation.remedy(0.5 * step) for step in range(17)]
    assert [place * 0.5 for place, remedy in enumerate(found) if remedy is Remedy.REJOIN] == [2.0, 4.0, 6.0]
    assert found[-1] is Remedy.END
