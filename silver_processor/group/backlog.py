"""Counts the messages that wait for a consumer group. It asks the broker, and does not join the group."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka import Consumer, TopicPartition

from config.connections import kafka_client
from config.settings import Settings

_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class PartitionBacklog:
    """A group's backlog in one partition.

    `committed`: the group's committed offset, or `first` if there is none. `first`: the offset of the oldest message
    that the broker keeps. `end`: the offset of the next message that is published.
    """

    topic: str
    partition: int
    committed: int
    first: int
    end: int

    @property
    def messages(self) -> int:
        """How many messages wait."""
        return max(0, self.end - self.committed)


def group_observer(settings: Settings, group: str) -> Consumer:
    """A client that can ask for the group's offsets and never joins the group."""
    return Consumer({**kafka_client(settings), "group.id": group, "enable.auto.commit": False, "log_level": 0})


def backlog(consumer: Consumer, topics: Iterable[str], timeout_s: float = _TIMEOUT_S) -> list[PartitionBacklog]:
    """The group's backlog in every partition of the topics. A topic that the broker does not know is left out.

    Raises:
        confluent_kafka.KafkaException: the broker does not answer.
    """
    known = consumer.list_topics(timeout=timeout_s).topics
    partitions = [
        TopicPartition(topic, number) for topic in topics if topic in known for number in known[topic].partitions
    ]
    backlogs = []
    for committed in consumer.committed(partitions, timeout=timeout_s) if partitions else ():
        partition = TopicPartition(committed.topic, committed.partition)
        first, end = consumer.get_watermark_offsets(partition, timeout=timeout_s)
        offset = committed.offset if committed.offset >= 0 else first
        backlogs.append(PartitionBacklog(committed.topic, committed.partition, offset, first, end))
    return backlogs
