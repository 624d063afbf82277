"""Messages about trades that are none themselves: nobody waits for them, and their loss is counted and logged."""

from __future__ import annotations

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from producers import metrics

_log = structlog.get_logger(__name__)


class Notes:
    """Through a producer that is somebody else's."""

    def __init__(self, producer: Producer) -> None:
        """`producer` stays open."""
        self._producer = producer
        #: Not acknowledged yet.
        self.waiting = 0
        self.lost = 0

    def put(self, topic: str, key: bytes, value: bytes) -> None:
        """Publish one; never waits."""
        try:
            self._producer.produce(topic, value, key, on_delivery=self._on_delivery)
            self.waiting += 1
        except (BufferError, KafkaException) as error:
            self._count_lost(topic, str(error))

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        self.waiting -= 1
        if error is not None:
            self._count_lost(message.topic(), error.str())

    def _count_lost(self, topic: str, error: str) -> None:
        self.lost += 1
        metrics.NOTES_LOST.inc()
        _log.error("note not delivered", topic=topic, error=error)
