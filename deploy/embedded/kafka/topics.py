"""The pipeline's topics with their partitions and retention, and how they are created on a Kafka broker."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from config.connections import kafka_client
from config.settings import RAW_TOPIC, UNLISTED_EXCHANGE, Settings
from deploy.embedded.layout import PARTITIONS, StackError

# How long and how much is kept of each kind of topic: as in deploy/compose/redpanda/create-topics.sh.
_HOUR_MS = 3_600_000
_GIB = 2**30
_TIMEOUT_S = 30.0


def answers(client: Mapping[str, object]) -> bool:
    """Whether the broker answers a request of this client (`config.connections.kafka_client`) now."""
    admin = AdminClient({**client, "log_level": 0})
    try:
        return bool(admin.list_topics(timeout=1).brokers)
    except KafkaException:
        return False


def wanted(settings: Settings, replicas: int = 1) -> list[NewTopic]:
    """Every topic of the pipeline. `replicas` -1 stands for the broker's default."""
    return [
        *(_topic(settings, name, _raw_partitions(name), 48, _GIB, replicas) for name in settings.raw_topics),
        _topic(settings, settings.bronze_topic, PARTITIONS, 48, 2 * _GIB, replicas),
        _topic(settings, settings.dlq_topic, 1, 168, _GIB, replicas),
        _topic(settings, settings.gaps_topic, 1, 168, _GIB, replicas),
    ]


def create(settings: Settings, replicas: int = 1) -> None:
    """Create the topics that are missing, with `replicas` as in `wanted`. Topics that exist stay as they are.

    Raises:
        StackError: the broker refused.
    """
    admin = AdminClient({**kafka_client(settings), "log_level": 0})
    for name, future in admin.create_topics(wanted(settings, replicas), operation_timeout=_TIMEOUT_S).items():
        try:
            future.result(_TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise StackError(f"Kafka refused to create the topic {name}: {error.args[0].str()}") from error


def _raw_partitions(topic: str) -> int:
    """The topic of unlisted exchanges gets one partition: none of them is expected to be busy."""
    return 1 if topic == RAW_TOPIC.format(exchange=UNLISTED_EXCHANGE) else PARTITIONS


def _topic(settings: Settings, name: str, partitions: int, hours: int, partition_bytes: int, replicas: int) -> NewTopic:
    return NewTopic(
        name,
        partitions,
        replicas,
        config={
            "retention.ms": str(hours * _HOUR_MS),
            "retention.bytes": str(partition_bytes),
            "max.message.bytes": str(settings.kafka_max_message_bytes),
            "cleanup.policy": "delete",
        },
    )
