"""Fixtures of the producers: an in-memory broker, and every recording."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition

import config.process.retry
from config.settings import Settings
from tests.recorded import OTHERS, OURS, Recorded

_DEADLINE_S = 20.0
LARGE = 100_000
RECORDED = [*OURS.values(), *OTHERS.values()]
each_recording = pytest.mark.parametrize("recorded", RECORDED, ids=lambda one: one.name)


def played(recordings: Iterable[Recorded]) -> list[Any]:
    """For tests that play every frame: those of other people and the large ones are for the nightly tier.

    Their siblings: test_recordings.py parses every recording, and the storms replay Binance's.
    """
    return [
        pytest.param(
            one,
            id=one.name,
            marks=[pytest.mark.nightly] if one.name in OTHERS or one.path.stat().st_size > LARGE else [],
        )
        for one in recordings
    ]


each_recording_played = pytest.mark.parametrize("recorded", played(RECORDED))


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries begin at 10 ms, not at half a second: here a REST interface fails on purpose."""
    monkeypatch.setattr(config.process.retry, "FIRST_S", 0.01)


@pytest.fixture
def broker() -> Iterator[str]:
    """Address of an in-memory broker that lives as long as the test."""
    cluster = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    address = next(iter(cluster.list_topics(timeout=10).brokers.values()))
    yield f"{address.host}:{address.port}"
    del cluster


@pytest.fixture
def settings(broker: str) -> Settings:
    """Settings of that broker."""
    return Settings(kafka_bootstrap_servers=broker)


@pytest.fixture
def consume(broker: str) -> Callable[[str], list[Message]]:
    """Everything a topic holds, in no order across partitions."""

    def all_of(topic: str) -> list[Message]:
        consumer = Consumer(
            {"bootstrap.servers": broker, "group.id": "reader", "fetch.wait.max.ms": 20, "log_level": 0}
        )
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        ends = {
            number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10) for number in partitions
        }
        assert all(low == 0 for low, _ in ends.values()), "the in-memory broker has dropped messages"
        expected = sum(high for _, high in ends.values())
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        messages: list[Message] = []
        deadline = time.monotonic() + _DEADLINE_S
        while len(messages) < expected and time.monotonic() < deadline:
            messages += consumer.consume(10_000, 0.1)
        consumer.close()
        assert len(messages) == expected
        assert all(message.error() is None for message in messages)
        return messages

    return all_of
