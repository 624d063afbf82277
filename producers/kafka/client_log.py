"""What librdkafka says of itself while it publishes: in our log, each thing once a minute."""

from __future__ import annotations

import logging
import time

import structlog
from confluent_kafka import KafkaError

from config.repeats import Repeats

logger = logging.getLogger(__name__)
logger.addFilter(Repeats())
_log = structlog.get_logger(__name__)


class ClientErrors:
    """Of one producer: the last error, and since when the broker cannot be reached."""

    def __init__(self) -> None:
        """None yet."""
        self._repeats = Repeats()
        self._last = ""
        self._away_since_s: float | None = None

    def __call__(self, error: KafkaError) -> None:
        """librdkafka's `error_cb`."""
        self._last = error.str()
        if self._away_since_s is None:
            self._away_since_s = time.monotonic()
        if count := self._repeats.count(self._last):
            _log.warning("kafka client", error=self._last, fatal=error.fatal(), times=count)

    def delivered(self) -> None:
        """The broker took a message: it is there."""
        self._away_since_s = None

    @property
    def away_s(self) -> float:
        """For how long there were errors and no message was taken; 0 where the last thing heard is good."""
        return 0.0 if self._away_since_s is None else time.monotonic() - self._away_since_s

    def __str__(self) -> str:
        return f" ({self._last})" if self._last else ""
