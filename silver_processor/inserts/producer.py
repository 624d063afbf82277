"""The worker's Kafka producer. It waits until the broker has acknowledged every message."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as KafkaMessage

from config.connections import kafka_client
from config.settings import Settings
from silver_processor.retry import RetryPolicy, WorkerStoppedError

_POLL_SECONDS = 0.1
_METADATA_SECONDS = 10.0
_BY_KEY = -1


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message to publish. Its key chooses the partition if `partition` is -1."""

    key: bytes
    value: bytes
    partition: int = _BY_KEY


class ConfirmedProducer:
    """A producer whose `send` returns once all in-sync replicas have acknowledged every message."""

    def __init__(self, settings: Settings, retry: RetryPolicy) -> None:
        self._retry = retry
        self._failed: list[KafkaError] = []
        self._producer = Producer(
            {
                **kafka_client(settings),
                "enable.idempotence": True,
                "acks": "all",
                # Every client reads gzip without an extra library, and so does the worker's own consumer.
                "compression.type": "gzip",
                "linger.ms": 0,
                "message.max.bytes": settings.kafka_max_message_bytes,
                # 0: a message never expires while the broker is away.
                "message.timeout.ms": 0,
            }
        )

    def partitions(self, topic: str) -> int:
        """The number of partitions of a topic. Waits for a broker that is away.

        Raises:
            WorkerStoppedError: the worker stops.
        """
        return self._retry.until_done(
            "read the partitions of a topic",
            lambda: len(self._producer.list_topics(topic, timeout=_METADATA_SECONDS).topics[topic].partitions),
            (KafkaException,),
        )

    def send(self, topic: str, messages: Iterable[OutgoingMessage]) -> None:
        """Publish the messages and wait for their acknowledgement.

        Raises:
            WorkerStoppedError: the worker stops before all messages are acknowledged.
            KafkaException: the producer failed for good. Only a new process can take over.
        """
        self._failed.clear()
        for message in messages:
            self._produce(topic, message)
        while self._producer.flush(_POLL_SECONDS):
            if self._retry.stop.is_set():
                raise WorkerStoppedError(f"the worker stopped before messages to {topic} were acknowledged")
        if self._failed:
            error = self._failed[0]
            structlog.get_logger().error("not delivered", topic=topic, error=str(error), count=len(self._failed))
            raise KafkaException(error)

    def _produce(self, topic: str, message: OutgoingMessage) -> None:
        while True:
            try:
                self._producer.produce(
                    topic,
                    value=message.value,
                    key=message.key,
                    partition=message.partition,
                    on_delivery=self._delivered,
                )
            except BufferError:
                self._producer.poll(_POLL_SECONDS)
                if self._retry.stop.is_set():
                    raise WorkerStoppedError(f"the worker stopped while the queue to {topic} was full") from None
            else:
                return

    def _delivered(self, error: KafkaError | None, _message: KafkaMessage) -> None:
        if error is not None:
            self._failed.append(error)
