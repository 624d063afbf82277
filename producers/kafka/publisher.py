"""Publishes raw envelopes: idempotent, acknowledged by all replicas, with a bounded buffer and no silent loss."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Self

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from config.connections import kafka_client
from config.settings import Settings
from producers import metrics
from producers.kafka import delivery
from producers.kafka.delivery import (
    ClientErrors,
    DeliveryError,
    EventSender,
    Losses,
    PublisherStatistics,
    in_all,
    not_acknowledged,
    refused,
    stalled,
    subject,
)
from producers.kafka.envelope import SOURCE, Envelope, decode, encode, shortened
from producers.kafka.flow_control import FlowControl

_BUFFER_MESSAGES = 100_000
_BUFFER_KBYTES = 65_536
# Five times as many trades a batch as with 5 ms. Brokers and consumers work by the batch: each fetch of the in-memory
# broker returns one, and looks for it among all that it keeps.
_LINGER_MS = 20
_POLL_S = 0.1
# `publish` waits so long for a broker that does not answer. For a slow broker it waits for the delivery timeout.
UNREACHABLE_S = 60.0
# After so many single messages, acknowledgements are served once. To serve them takes as long as to send a message.
_SERVE_EVERY = 32
FLUSH_S = 30.0
# Room for the key and Kafka's own bytes of a message.
_OVERHEAD = 4_096
# A message that a broker with a lower limit refused is cut to this size.
_REFUSED_LIMIT = 65_536
_PURGED = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)
Headers = list[tuple[str, bytes]] | None
_log = structlog.get_logger(__name__)

__all__ = ["DeliveryError", "KafkaPublisher", "PublisherStatistics"]


@contextmanager
def _interruptible() -> Iterator[None]:
    """Raise the KeyboardInterrupt that confluent-kafka loses.

    Where a signal comes while the client calls a callback, the client fails with a SystemError without a cause (seen in
    2.16). An exception of the callback itself it passes on.
    """
    try:
        yield
    except SystemError as error:
        if error.__cause__ is not None:
            raise
        raise KeyboardInterrupt from error


class KafkaPublisher:
    """A Kafka producer of raw envelopes, keyed `<exchange>:<symbol>`, each to its exchange's raw topic.

    Memory is bounded: when the buffer is full, `offer` takes less and `publish` waits. A message that the broker
    refuses as too large is sent again with its payload cut, and becomes a dead letter.
    """

    def __init__(self, settings: Settings, *, delivery_timeout_s: float = 300.0) -> None:
        """Connects in the background; a broker that is away is noticed only by `publish` and `flush`.

        Args:
            settings: bootstrap servers, topic names, the largest message, and the bound of unconsumed bytes.
            delivery_timeout_s: a message that is not acknowledged within this time has failed; 0: no limit.
        """
        self._settings = settings
        broker = kafka_client(settings)
        self._servers = settings.kafka_bootstrap_servers
        bound = settings.publish_max_unconsumed_bytes
        # A message over the bound may be more than such a broker keeps: it would be lost, and the next one with it.
        self._limit = min(settings.kafka_max_message_bytes, bound or settings.kafka_max_message_bytes)
        self._flow_control = FlowControl(broker, settings.raw_consumer_group, bound) if bound else None
        self._topics: dict[str, str] = {}
        self._offers = 0
        self._refused: deque[Envelope] = deque()
        self._last_cut: tuple[Envelope, Envelope] | None = None
        self._accepted = self._failed = self._shortened = self._bytes = 0
        self.losses = Losses()
        self._first_failure = ""
        self._client_errors = ClientErrors()
        self._timeout_s = delivery_timeout_s or float("inf")
        self._producer = Producer(
            {
                **broker,
                "client.id": "medallion-producer",
                "enable.idempotence": True,
                "acks": "all",
                # Where the bytes are bounded, the in-memory broker searches all batches that it keeps: 5 MiB as sent.
                "compression.type": "none" if bound else "lz4",
                "linger.ms": _LINGER_MS,
                "partitioner": "murmur2_random",
                "message.max.bytes": self._limit,
                "message.timeout.ms": int(delivery_timeout_s * 1000),
                "queue.buffering.max.messages": _BUFFER_MESSAGES,
                "queue.buffering.max.kbytes": max(_BUFFER_KBYTES, 2 * self._limit // 1024),
                "error_cb": self._client_errors,
            },
            logger=delivery.logger,
        )
        self._events = EventSender(self._producer)

    def offer(
        self, envelopes: Sequence[Envelope], acknowledged: Callable[[], None] | None = None, source: str = ""
    ) -> int:
        """Take as many of the first envelopes as the buffer and the bound of unconsumed bytes allow.

        If there is such a bound, it may wait for the broker's answer to a request for consumed offsets, but for nothing
        else. `acknowledged` is called when the broker has the last of the envelopes; the call comes from `poll` or
        another method of this publisher. `source`: the header `SOURCE`; "" for trades of a live stream, with which a
        new producer resumes.

        Returns:
            the number of envelopes that were taken.

        Raises:
            DeliveryError: an earlier message failed for good, or the producer cannot go on.
        """
        self._offers += 1
        if len(envelopes) > 1 or not self._offers % _SERVE_EVERY:
            self.poll(0)
        self._raise_failure()
        self._send_refused()
        last = len(envelopes) - 1
        headers = [(SOURCE, source.encode())] if source else None
        for number, envelope in enumerate(envelopes):
            if not self._produce(envelope, acknowledged if number == last else None, headers):
                return number
        return len(envelopes)

    def publish(self, envelopes: Sequence[Envelope], source: str = "") -> None:
        """Take all envelopes, and wait while there is no room. `source`: as in `offer`.

        Raises:
            DeliveryError: a message failed for good; or there was no room during the whole delivery timeout, or for a
                minute while the broker could not be reached.
        """
        taken = self.offer(envelopes, source=source)
        waiting_since_s = time.monotonic()
        while taken < len(envelopes):
            self.poll(_POLL_S)
            more = self.offer(envelopes[taken:], source=source)
            taken += more
            waited_s = time.monotonic() - waiting_since_s
            if more:
                waiting_since_s = time.monotonic()
            elif waited_s >= self._timeout_s or (self._is_away and waited_s >= UNREACHABLE_S):
                raise stalled(self.statistics, self._servers, waited_s, self._is_away, str(self._client_errors))

    def publish_event(self, topic: str, key: bytes, value: bytes) -> None:
        """Publish an event about trades. It never waits; a lost event is counted and logged."""
        self._events.put(topic, key, value)

    def flush_events(self) -> None:
        """As `flush`, and check that the broker has all events.

        Raises:
            DeliveryError: as `flush`, or an event was refused.
        """
        self.flush()
        if self._events.lost or self._events.waiting:
            raise DeliveryError(
                f"{self._events.lost + self._events.waiting} gap events were not taken by {self._servers}: check the"
                f" topic {self._settings.gaps_topic}, then run the same command again"
            )

    def poll(self, timeout_s: float) -> None:
        """Serve acknowledgements. Returns after the first one, or after `timeout_s`."""
        with _interruptible():
            self._producer.poll(timeout_s)

    def flush(self, timeout_s: float = FLUSH_S) -> None:
        """Wait until all taken messages are acknowledged.

        Raises:
            DeliveryError: a message failed, was not acknowledged in time, or was never taken.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            self._send_refused()
            unsent = self._flush(max(deadline - time.monotonic(), 0.0)) + len(self._refused)
            if not unsent or time.monotonic() >= deadline:
                break
        self._raise_failure()
        waiting, untaken = self._waiting, self.losses.abandoned
        if waiting or untaken:
            raise not_acknowledged(waiting, self._accepted, untaken, self._servers, timeout_s, str(self._client_errors))

    def close(self, timeout_s: float = FLUSH_S) -> None:
        """Flush, then close the connection. Messages that are not acknowledged by then are given up.

        Raises:
            DeliveryError: as `flush`. The error counts the losses by exchange and symbol.
        """
        try:
            self.flush(timeout_s)
        except DeliveryError as error:
            self._give_up()
            raise DeliveryError(f"{error}. Not delivered: {self.losses}") from error
        finally:
            self._producer.purge()
            self._flush(_POLL_S)
            self._producer.close()
            if self._flow_control is not None:
                self._flow_control.close()

    def _flush(self, timeout_s: float) -> int:
        with _interruptible():
            waiting: int = self._producer.flush(timeout_s)
            return waiting

    def _give_up(self) -> None:
        """Count and log the messages that are not acknowledged."""
        self.losses.counts.update(envelope.key for envelope in self._refused)
        self._refused.clear()
        self._producer.purge()
        # A purged message reaches the delivery callback like any other failed one.
        self._flush(_POLL_S)
        self.losses.report()

    @property
    def statistics(self) -> PublisherStatistics:
        """Counts so far."""
        buffered = self._waiting
        delivered = max(self._accepted - self._failed - buffered, 0)
        return PublisherStatistics(self._accepted, delivered, buffered, self._failed, self._shortened, self._bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        try:
            # The caller has waited for this broker already, so `close` hardly waits.
            self.close(_POLL_S if isinstance(error, DeliveryError) else FLUSH_S)
        except DeliveryError as lost:
            if isinstance(error, DeliveryError):
                raise in_all(error, self._accepted, self.losses) from error
            # The caller's error is raised. The losses are added to it as a note.
            error.add_note(str(lost))

    def _produce(
        self, envelope: Envelope, acknowledged: Callable[[], None] | None = None, headers: Headers = None
    ) -> bool:
        value = encode(envelope)
        if len(value) >= self._limit - _OVERHEAD:
            envelope = self._cut(envelope, len(value))
            value = encode(envelope)
        key = envelope.key.encode()
        size = len(key) + len(value)
        if self._flow_control is not None and not self._flow_control.try_acquire(size):
            return False
        report = partial(self._on_delivery, acknowledged=acknowledged) if acknowledged else self._on_delivery
        try:
            self._producer.produce(self._topic(envelope.exchange), value, key, on_delivery=report, headers=headers)
        except BufferError:
            if self._flow_control is not None:
                self._flow_control.release(size)
            return False
        except KafkaException as error:
            raise DeliveryError(
                f"the producer cannot go on: {error}; restart it and send the same input again"
            ) from error
        self._last_cut = None
        self._accepted += 1
        self._bytes += len(value)
        return True

    def _cut(self, envelope: Envelope, nbytes: int) -> Envelope:
        """The envelope of a message of `nbytes`, cut to the limit. One that is offered again is not cut again."""
        if self._last_cut is None or self._last_cut[0] is not envelope:
            self._last_cut = envelope, shortened(envelope, self._limit - _OVERHEAD)
            self._shortened += 1
            about = {"exchange": envelope.exchange, "symbol": envelope.symbol}
            _log.warning("payload cut", **about, bytes=nbytes, limit=self._limit)
        return self._last_cut[1]

    def _topic(self, exchange: str) -> str:
        topic = self._topics.get(exchange)
        if topic is None:
            topic = self._topics[exchange] = self._settings.raw_topic(exchange)
        return topic

    def _send_refused(self) -> None:
        while self._refused and self._produce(self._refused[0]):
            self._refused.popleft()
            self._accepted -= 1  # it was counted when it was first taken

    def _on_delivery(
        self, error: KafkaError | None, message: Message, acknowledged: Callable[[], None] | None = None
    ) -> None:
        if self._flow_control is not None:
            size = len(message.key()) + len(message)  # the message's length is that of its value
            if error is None:
                self._flow_control.delivered(message.topic(), message.partition(), message.offset(), size)
            else:
                self._flow_control.release(size)
        if error is None:
            self._client_errors.delivered()
            if acknowledged is not None:
                acknowledged()
            return
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            envelope = shortened(decode(message.value()), _REFUSED_LIMIT)
            if len(encode(envelope)) < len(message.value()):
                self._shortened += 1
                self._refused.append(envelope)
                _log.warning("payload cut, the broker refused it", **subject(message), bytes=len(message.value()))
                return
        self.losses.counts[message.key().decode(errors="replace")] += 1
        if error.code() in _PURGED:
            return
        self._failed += 1
        metrics.DELIVERY_ERRORS.labels(str(subject(message)["exchange"])).inc()
        if not self._first_failure:
            self._first_failure = f"{error.str()} ({message.topic()})"
            _log.error("message not delivered", **subject(message), error=error.str())

    @property
    def _waiting(self) -> int:
        """The number of raw messages that are not acknowledged."""
        return max(len(self._producer) - self._events.waiting, 0) + len(self._refused)

    @property
    def _is_away(self) -> bool:
        """Whether the broker has not been reached since the last error."""
        return self._client_errors.away_s > 0 or bool(self._flow_control and self._flow_control.last_error)

    def _raise_failure(self) -> None:
        if self._failed:
            raise refused(self._failed, self._accepted, self._servers, f"{self._first_failure}{self._client_errors}")
