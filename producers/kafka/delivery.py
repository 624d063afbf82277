"""Keeps account of published messages: client errors, losses by market, and the errors that report them."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from config.errors import MedallionError
from producers import metrics
from producers.kafka.repeats import Repeats

_MARKETS_NAMED = 20
_log = structlog.get_logger(__name__)
# librdkafka's logger. librdkafka repeats itself, so each message is logged once a minute.
logger = logging.getLogger(__name__)
logger.addFilter(Repeats())


class ClientErrors:
    """The last error of one Kafka client, and how long the broker has been unreachable."""

    def __init__(self) -> None:
        """No error has come yet."""
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
        """The broker acknowledged a message, so it is reachable."""
        self._away_since_s = None

    @property
    def away_s(self) -> float:
        """Seconds since the first error after the last acknowledgement; 0 if there was none."""
        return 0.0 if self._away_since_s is None else time.monotonic() - self._away_since_s

    def __str__(self) -> str:
        return f" ({self._last})" if self._last else ""


@dataclass(frozen=True, slots=True)
class PublisherStatistics:
    """Counts of messages since the publisher started.

    `accepted`: taken by the publisher. `delivered`: acknowledged. `buffered`: not acknowledged yet. `failed`: lost.
    `shortened`: published with a payload that was cut. `bytes`: of the accepted messages.
    """

    accepted: int
    delivered: int
    buffered: int
    failed: int
    shortened: int
    bytes: int


class DeliveryError(MedallionError):
    """Messages did not reach the broker."""


def not_acknowledged(
    waiting: int, accepted: int, untaken: int, servers: str, timeout_s: float, detail: str
) -> DeliveryError:
    """The error of a flush that ran out of time."""
    more = f", and {untaken} more were never taken by the full buffer" if untaken else ""
    return DeliveryError(
        f"{waiting} of {accepted} messages were not acknowledged by {servers} within {timeout_s:g} s{detail}{more};"
        " check that the broker runs and can be reached (MEDALLION_KAFKA_BOOTSTRAP_SERVERS), then send the same input"
        " again, or `medallion backfill` the time: duplicates are harmless"
    )


def stalled(counts: PublisherStatistics, servers: str, waited_s: float, is_away: bool, detail: str) -> DeliveryError:
    """The error of a publisher that found no room within its time limit."""
    if is_away:
        why = f"no answer of the broker at {servers} for {waited_s:.0f} s{detail}"
        check = "check that the broker runs and can be reached (MEDALLION_KAFKA_BOOTSTRAP_SERVERS)"
    else:
        why = f"the broker at {servers} had no room for {waited_s:.0f} s: published messages are not consumed"
        check = "see `medallion status`: ClickHouse has to read the raw topics"
    return DeliveryError(
        f"{why}; {counts.delivered:,} messages were delivered, {counts.buffered:,} were sent and not acknowledged,"
        f" later ones were not sent; {check}, then send the same input again: duplicates are harmless"
    )


def refused(failed: int, accepted: int, servers: str, first: str) -> DeliveryError:
    """The error of a publisher that has lost messages for good."""
    return DeliveryError(
        f"{failed} of {accepted} messages were not delivered to {servers}; the first: {first}; check the broker and its"
        " topics, then send the same input again: duplicates are harmless"
    )


def in_all(error: DeliveryError, accepted: int, losses: Losses) -> DeliveryError:
    """The error that ended the work, with the counts of all messages until then."""
    delivered = accepted - losses.counts.total() + losses.abandoned
    return DeliveryError(f"{error}. In all {delivered:,} messages were delivered. Not delivered: {losses}")


def subject(message: Message) -> dict[str, object]:
    """The fields of a log line about a raw message. Its key is `<exchange>:<symbol>`."""
    exchange, _, symbol = message.key().decode(errors="replace").partition(":")
    place = {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()}
    return {"exchange": exchange, "symbol": symbol, **place}


class Losses:
    """Counts of lost messages by Kafka key, `<exchange>:<symbol>`. An unrecognised message has no symbol."""

    def __init__(self) -> None:
        """No message is lost yet."""
        self.counts: Counter[str] = Counter()
        # How many of these no publisher took.
        self.abandoned = 0

    def abandon(self, keys: Iterable[str]) -> None:
        """Count messages that no publisher took. `keys`: their Kafka keys."""
        before = self.counts.total()
        self.counts.update(keys)
        self.abandoned += self.counts.total() - before

    def __str__(self) -> str:
        parts = [f"{exchange} {symbol or '(no symbol)'} {count:,}" for exchange, symbol, count in self._rows()]
        more = f", and of {len(parts) - _MARKETS_NAMED:,} markets more" if len(parts) > _MARKETS_NAMED else ""
        return ", ".join(parts[:_MARKETS_NAMED]) + more

    def report(self) -> None:
        """Log the losses of each market and add them to the metric."""
        for exchange, symbol, count in self._rows():
            metrics.LOST.labels(exchange).inc(count)
            _log.error("not delivered", exchange=exchange, symbol=symbol, messages=count)

    def _rows(self) -> list[tuple[str, str, int]]:
        keys = ((key.partition(":"), count) for key, count in self.counts.most_common())
        return [(exchange, symbol, count) for (exchange, _, symbol), count in keys]


class EventSender:
    """Publishes events beside the trades. It never waits; lost events are counted and logged."""

    def __init__(self, producer: Producer) -> None:
        """The caller closes `producer`."""
        self._producer = producer
        # Events that are not acknowledged yet.
        self.waiting = 0
        self.lost = 0

    def put(self, topic: str, key: bytes, value: bytes) -> None:
        """Publish an event. Never waits."""
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
        metrics.EVENTS_LOST.inc()
        _log.error("note not delivered", topic=topic, error=error)
