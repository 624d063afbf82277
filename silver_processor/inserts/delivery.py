"""Messages to the broker, delivered before the worker goes on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as KafkaMessage

from config.connections import kafka_client
from config.settings import Settings
from silver_processor.retry import Patience, StoppedError

_POLL_SECONDS = 0.1
_METADATA_SECONDS = 10.0
_BY_KEY = -1


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish; `partition` -1: the one that its key gives."""

    key: bytes
    value: bytes
    partition: int = _BY_KEY


class Delivery:
    """A producer whose `send` returns when every message is acknowledged by all in-sync replicas."""

    def __init__(self, settings: Settings, patience: Patience) -> None:
        self._patience = patience
        self._failed: list[KafkaError] = []
        self._producer = Producer(
            {
                **kafka_client(settings),
                "enable.idempotence": True,
                "acks": "all",
                # The one codec that every client reads without another library, our own consumer among them.
                "compression.type": "gzip",
                "linger.ms": 0,
                "message.max.bytes": settings.kafka_max_message_bytes,
                # A broker that is away is waited for.
                "message.timeout.ms": 0,
            }
        )

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has; waits for the broker.

        Raises:
            StoppedError: the worker stops.
        """
        return self._patience.until_done(
            "ask for the partitions of a topic",
            lambda: len(self._producer.list_topics(topic, timeout=_METADATA_SECONDS).topics[topic].partitions),
            (KafkaException,),
        )

    def send(self, topic: str, messages: Iterable[Outgoing]) -> None:
        """Deliver the messages.

        Raises:
            StoppedError: the worker stops before all are acknowledged.
            KafkaException: the producer failed for good; a new process must take over.
        """
        self._failed.clear()
        for message in messages:
            self._produce(topic, message)
        while self._producer.flush(_POLL_SECONDS):
            if self._patience.stop.is_set():
                raise StoppedError(f"stopped while messages to {topic} were not acknowledged")
        if self._failed:
            error = self._failed[0]
            structlog.get_logger().error("not delivered", topic=topic, error=str(error), count=len(self._failed))
            raise KafkaException(error)

    def _produce(self, topic: str, message: Outgoing) -> None:
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
                if self._patience.stop.is_set():
                    raise StoppedError(f"stopped while the queue to {topic} was full") from None
            else:
                return

    def _delivered(self, error: KafkaError | None, _message: KafkaMessage) -> None:
        if error is not None:
            self._failed.append(error)
