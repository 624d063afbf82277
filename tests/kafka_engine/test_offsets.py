"""Invariant: the next block waits for the commit of the one before, and for no commit that will never be answered."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import KafkaError, TopicPartition

from deploy.embedded.clickhouse.kafka.blocks import Block
from deploy.embedded.clickhouse.kafka.offsets import Counters, Offsets

PARTITION = ("raw", 0)


class Broker:
    """A group's offsets, behind a network that answers a commit when told to: a fault that a real one seldom makes."""

    def __init__(self) -> None:
        self.committed_offset = -1001
        self.sent: list[list[TopicPartition]] = []

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [TopicPartition(one.topic, one.partition, self.committed_offset) for one in partitions]

    def assign(self, partitions: list[TopicPartition]) -> None:
        pass

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> None:
        assert asynchronous
        self.sent.append(offsets)


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def offsets(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Offsets:
    monkeypatch.setattr("deploy.embedded.clickhouse.kafka.offsets._RETRY_SECONDS", 0.0)
    made = Offsets(Counters())
    given(made, broker)
    return made


def given(offsets: Offsets, broker: Any) -> None:
    offsets.assign(broker, [TopicPartition(*PARTITION)])


def inserted(offsets: Offsets, first: int, following: int) -> None:
    block = Block(pa.table({}), {PARTITION: following - first}, {PARTITION: (first, following)}, "token")
    offsets.take(block)
    offsets.inserted(block, offsets.epoch)


def commit(offsets: Offsets, broker: Any) -> None:
    offsets.commit(broker, asynchronous=True)


def test_a_block_is_acknowledged_when_the_broker_says_so(offsets: Offsets, broker: Broker) -> None:
    assert offsets.are_acknowledged
    inserted(offsets, 0, 10)
    assert not offsets.are_acknowledged
    commit(offsets, broker)
    assert not offsets.are_acknowledged, "the commit is on its way"
    offsets.on_commit(None, broker.sent[0])
    assert offsets.are_acknowledged


def test_a_refused_commit_is_sent_again(offsets: Offsets, broker: Broker) -> None:
    inserted(offsets, 0, 10)
    commit(offsets, broker)
    offsets.on_commit(KafkaError(KafkaError.REQUEST_TIMED_OUT), broker.sent[0])
    assert not offsets.are_acknowledged
    inserted(offsets, 10, 20)
    commit(offsets, broker)
    assert [one.offset for one in broker.sent[1]] == [20]
    offsets.on_commit(None, broker.sent[1])
    assert offsets.are_acknowledged


def test_a_commit_that_was_refused_while_the_partition_was_away_is_sent_again(offsets: Offsets, broker: Broker) -> None:
    broker.committed_offset = 0
    offsets.on_commit(None, [TopicPartition(*PARTITION, 0)])
    inserted(offsets, 0, 10)
    commit(offsets, broker)
    offsets.revoke([TopicPartition(*PARTITION)])
    offsets.on_commit(KafkaError(KafkaError.ILLEGAL_GENERATION), broker.sent[0])
    assert offsets.are_acknowledged, "another consumer's partition is waited for by that one"
    given(offsets, broker)
    assert not offsets.are_acknowledged
    commit(offsets, broker)
    assert [one.offset for one in broker.sent[1]] == [10]
    offsets.on_commit(None, broker.sent[1])
    assert offsets.are_acknowledged


def test_a_broker_that_has_forgotten_the_group_is_not_waited_for(offsets: Offsets, broker: Broker) -> None:
    inserted(offsets, 0, 10)
    commit(offsets, broker)
    offsets.revoke([TopicPartition(*PARTITION)])
    given(offsets, broker)
    assert offsets.are_acknowledged
