"""What waits in a topic for a consumer group: asked of the broker, by somebody outside of the group."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka import Consumer, TopicPartition

from config.connections import kafka_client
from config.settings import Settings

_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a group stands in a partition: its committed offset, or the first one kept where it has committed none,
    and the offset of the next message to come."""

    topic: str
    partition: int
    committed: int
    end: int

    @property
    def messages(self) -> int:
        """How many wait."""
        return max(0, self.end - self.committed)


def outsider(settings: Settings, group: str) -> Consumer:
    """A client that may ask for the group's offsets and never joins it."""
    return Consumer({**kafka_client(settings), "group.id": group, "enable.auto.commit": False, "log_level": 0})


def places(consumer: Consumer, topics: Iterable[str], timeout_s: float = _TIMEOUT_S) -> list[Place]:
    """The group's place in every partition of those topics that the broker knows.

    Raises:
        confluent_kafka.KafkaException: the broker does not answer.
    """
    known = consumer.list_topics(timeout=timeout_s).topics
    partitions = [
        TopicPartition(topic, number) for topic in topics if topic in known for number in known[topic].partitions
    ]
    found = []
    for committed in consumer.committed(partitions, timeout=timeout_s) if partitions else ():
        partition = TopicPartition(committed.topic, committed.partition)
        low, end = consumer.get_watermark_offsets(partition, timeout=timeout_s)
        offset = committed.offset if committed.offset >= 0 else low
        found.append(Place(committed.topic, committed.partition, offset, end))
    return found
