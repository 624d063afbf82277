"""What the in-memory broker does and does not do: the documentation of deploy.embedded.broker holds."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from deploy.embedded.broker import BrokerError, InMemoryBroker
from tests.kafka_engine.kafka import publish, read
from tests.kafka_engine.node import wait_until


def watermarks(brokers: str, topic: str) -> tuple[int, int]:
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "watermarks"})
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)
    consumer.close()
    return low, high


def test_process_publishes_its_address_and_ends_on_sigterm(tmp_path: Path) -> None:
    state = tmp_path / "broker.address"
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.embedded.broker", "--state", state, "--topic", "seven:7"],
        cwd=Path(__file__).parents[2],
    )
    try:
        wait_until(state.exists)
        topics = AdminClient({"bootstrap.servers": state.read_text()}).list_topics(timeout=10).topics
        assert len(topics["seven"].partitions) == 7
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert not state.exists()


def test_a_topic_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(BrokerError, match="0 partitions"):
        InMemoryBroker({"none": 0})


def test_messages_keep_key_value_headers_and_time_up_to_32_mb(brokers: str) -> None:
    value = (b'{"trade": "' + random.Random(1).randbytes(300).hex().encode()) * 53_000
    assert len(value) > 32_000_000
    sent = {"topic": "large", "partition": 0, "key": b"k", "headers": [("h", b"v")], "timestamp": 1_700_000_000_123}
    publish(brokers, [{**sent, "value": b"before"}], **{"compression.type": "lz4"})
    publish(brokers, [{**sent, "value": value}, {**sent, "value": b"after"}], **{"compression.type": "lz4"})
    found = read(brokers, "large", 3)
    assert [message.value() for message in found] == [b"before", value, b"after"]
    assert {(m.key(), m.timestamp()[1], str(m.headers())) for m in found} == {
        (b"k", 1_700_000_000_123, "[('h', b'v')]")
    }


def test_a_partition_keeps_five_megabytes(brokers: str) -> None:
    chosen = random.Random(1)
    publish(brokers, ({"topic": "small", "partition": 0, "value": chosen.randbytes(1000)} for _ in range(8_000)))
    low, high = watermarks(brokers, "small")
    assert high == 8_000
    assert 3_500_000 < (high - low) * 1000 < 5_300_000


def test_a_batch_above_five_megabytes_is_lost_with_the_next_unless_first(brokers: str) -> None:
    for value in (b"first", random.Random(1).randbytes(6_000_000), b"next", b"last"):
        publish(brokers, [{"topic": "lost", "partition": 0, "value": value}])
    assert [message.value() for message in read(brokers, "lost", 1)] == [b"last"]


def test_a_second_member_takes_its_share_and_goes_on_from_the_commits(brokers: str) -> None:
    publish(brokers, ({"topic": "shared", "partition": n % 4, "value": b"x"} for n in range(8)))

    def member() -> Consumer:
        consumer = Consumer(
            {
                "bootstrap.servers": brokers,
                "group.id": "members",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "session.timeout.ms": 6_000,  # a rebalance of this broker takes about as long
                "heartbeat.interval.ms": 500,
            }
        )
        consumer.subscribe(["shared"])
        return consumer

    first, second = member(), member()
    seen: list[tuple[int, int]] = []

    def poll() -> None:
        for consumer in (first, second):
            seen.extend((m.partition(), m.offset()) for m in consumer.consume(10, 0.05) if m.error() is None)

    def shared() -> bool:
        poll()
        return sorted(len(consumer.assignment()) for consumer in (first, second)) == [2, 2]

    wait_until(shared)
    wait_until(lambda: poll() or len(set(seen)) == 8)
    for consumer in (first, second):
        done = [TopicPartition("shared", one.partition, 2) for one in consumer.assignment()]
        assert all(one.error is None for one in consumer.commit(offsets=done, asynchronous=False))
    for consumer in (first, second):
        consumer.close()
    heir = member()
    publish(brokers, ({"topic": "shared", "partition": n, "value": b"new"} for n in range(4)))
    found: list[bytes] = []

    def new() -> bool:
        found.extend(m.value() for m in heir.consume(10, 0.1) if m.error() is None)
        return len(found) >= 4

    wait_until(new)
    heir.close()
    assert found == [b"new"] * 4
