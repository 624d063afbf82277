"""Messages to and from a topic, by librdkafka."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from confluent_kafka import Consumer, Message, Producer, TopicPartition

PARTITIONS = 4
_LARGE = 100_000_000


def publish(brokers: str, messages: Iterable[dict[str, Any]], **config: object) -> None:
    """Each message is the keyword arguments of `Producer.produce`."""
    producer = Producer({"bootstrap.servers": brokers, "message.max.bytes": _LARGE, "acks": "all", **config})
    for message in messages:
        producer.produce(**message)
        producer.poll(0)
    assert producer.flush(30) == 0


def read(brokers: str, topic: str, count: int, seconds: float = 30) -> list[Message]:
    """The first `count` messages of all partitions, then whatever else comes within a moment."""
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": uuid4().hex,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 10,
            "receive.message.max.bytes": 2 * _LARGE,
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    found: list[Message] = []
    deadline = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < deadline:
        found += [message for message in consumer.consume(1000, 0.1) if message.error() is None]
    found += [message for message in consumer.consume(1000, 0.5) if message.error() is None]
    consumer.close()
    return found


def committed(brokers: str, group: str, topic: str) -> dict[int, int]:
    """Committed offsets by partition, where there are any."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": group})
    positions = consumer.committed([TopicPartition(topic, partition) for partition in range(PARTITIONS)], timeout=10)
    consumer.close()
    return {position.partition: position.offset for position in positions if position.offset >= 0}


def commit(brokers: str, group: str, topic: str, offsets: dict[int, int]) -> None:
    """Commit for a group that has no members."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": group})
    consumer.commit(offsets=[TopicPartition(topic, p, offset) for p, offset in offsets.items()], asynchronous=False)
    consumer.close()
