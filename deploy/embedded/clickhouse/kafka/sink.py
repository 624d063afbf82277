"""Publishes rows that are inserted into a sink table. An insert returns when the broker has acknowledged its rows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from deploy.embedded.clickhouse.endpoint import SinkRefusedError
from deploy.embedded.clickhouse.kafka.avro import AvroError, Container, Part, long, text
from deploy.embedded.clickhouse.kafka.catalog import StandIn
from producers.kafka.flow_control import FlowControl

_SERVE_SECONDS = 0.02
_FULL_SECONDS = 0.05
_DEFAULT_CODEC = "snappy"  # as the engine's
_log = structlog.get_logger(__name__)


@dataclass
class _Post:
    """The messages of one insert. `waiting` counts those that are not acknowledged yet."""

    producer: Producer
    waiting: int = 0
    error: str = ""


@dataclass
class _Counters:
    rows: int = 0
    messages: int = 0
    errors: int = 0
    last_error: str = ""
    offsets: dict[str, int] = field(default_factory=dict)


class KafkaSink:
    """The writer of one sink table.

    As with the engine's sink, a message has at most `kafka_max_rows_per_message` rows of one insert, in the engine's
    Avro format. Its key and timestamp are `_key` and `_timestamp` of its last row. A message above `max_message_bytes`
    is split further. An insert returns when the broker has all its messages, and waits while the broker is away. An
    insert that fails or is killed may have been published; the retry publishes it again.
    """

    def __init__(
        self,
        stand_in: StandIn,
        config: Mapping[str, object],
        columns: Mapping[str, str],
        flow_control: Callable[[Callable[[float], object]], FlowControl],
        max_message_bytes: int,
    ) -> None:
        """Args:
        stand_in: the table. Assign a new `stand_in` when it is renamed.
        config: the producer's configuration.
        columns: the types of the table's columns, by name.
        flow_control: makes the flow control from a function that serves delivery callbacks.
        max_message_bytes: a larger message is split, down to single rows.
        """
        self.stand_in = stand_in
        self._config, self._max_bytes = config, max_message_bytes
        self._lock = threading.Lock()
        self._has_failed = False
        self._producer = self._new_producer()
        self._flow_control = flow_control(self._serve)
        self._refusing = threading.Event()
        self._posts = 0
        self._counters = _Counters()
        # As with the engine, columns of these names but another type are ordinary columns.
        self._has_key = columns.get("_key") == "String"
        self._stamp_scale = _scale(columns.get("_timestamp", ""))
        labels = [("_key", self._has_key), ("_timestamp", self._stamp_scale is not None)]
        self._labels = frozenset(name for name, is_there in labels if is_there)

    @property
    def is_running(self) -> bool:
        """Always True. A sink has no thread that could end: the thread of an insert publishes its rows."""
        return True

    def publish(self, container: bytes) -> None:
        """Publish the rows of one insert. Returns when the broker has them.

        Args:
            container: an Avro container without compression.

        Raises:
            SinkRefusedError: `refuse` was called before the rows were delivered, or the broker refused a message.
        """
        rows = Container(container)
        table = self.stand_in.table
        codec = table.format_settings.get("output_format_avro_codec", "") or _DEFAULT_CODEC
        post = _Post(self._working_producer())
        try:
            per_message = table.number("kafka_max_rows_per_message", 1)
            for part in rows.parts(per_message, self._max_bytes, codec, self._labels):
                self._produce(post, part)
            while post.waiting:
                self._check()
                post.producer.poll(_SERVE_SECONDS)
        except (AvroError, KafkaException) as error:
            raise SinkRefusedError(str(error)) from error
        finally:
            with self._lock:
                self._posts -= 1
        if post.error:
            self._failed(post.error)
            raise SinkRefusedError(post.error)
        with self._lock:
            self._counters.rows += rows.rows
            self._counters.last_error = ""

    def refuse(self) -> None:
        """Fail all inserts that wait for the broker or its consumers, and all new ones, until `accept`."""
        self._refusing.set()

    def accept(self) -> None:
        """Accept inserts again."""
        self._refusing.clear()

    def stop(self) -> None:
        """Fail the inserts that wait, and disconnect from the broker."""
        self.refuse()
        self._flow_control.close()

    def status(self) -> dict[str, object]:
        """Counters of delivered rows and messages, the last offset by topic/partition, and how many inserts wait."""
        return {
            "role": "sink",
            "rows": self._counters.rows,
            "messages": self._counters.messages,
            "errors": self._counters.errors,
            "last_error": self._counters.last_error or self._flow_control.last_error,
            "inserts_waiting": self._posts,
            "unconsumed_bytes": max(self._flow_control.unconsumed().values(), default=0),
            "partitions": {name: {"delivered": offset} for name, offset in sorted(self._counters.offsets.items())},
        }

    def _serve(self, seconds: float) -> None:
        self._producer.poll(seconds)

    def _check(self) -> None:
        if self._refusing.is_set():
            raise SinkRefusedError(
                "the node stopped or changed its tables before the broker acknowledged the rows; insert them again"
            )

    def _produce(self, post: _Post, part: Part) -> None:
        key = text(part.last["_key"]) if self._has_key else None
        stamp = 0 if self._stamp_scale is None else long(part.last["_timestamp"], 0)[0] // self._stamp_scale * 1000
        size = len(part.data) + len(key or b"")
        while not self._flow_control.acquire(size, _FULL_SECONDS):
            self._check()

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            if error is None:
                self._flow_control.delivered(message.topic(), message.partition(), message.offset(), size)
            else:
                self._flow_control.release(size)
            with self._lock:
                post.waiting -= 1
                if error is None:
                    self._counters.messages += 1
                    self._counters.offsets[f"{message.topic()}/{message.partition()}"] = message.offset()
                else:
                    post.error = error.str()

        topic = self.stand_in.table.topics[0]
        with self._lock:
            post.waiting += 1
        try:
            while True:
                self._check()
                try:
                    post.producer.produce(topic, part.data, key=key, timestamp=stamp, on_delivery=on_delivery)
                except BufferError:  # the client's queue is full
                    post.producer.poll(_FULL_SECONDS)
                    continue
                return
        except (KafkaException, SinkRefusedError):
            self._flow_control.release(size)
            raise

    def _working_producer(self) -> Producer:
        """The producer; a new one if an error has made the old one useless."""
        with self._lock:
            self._posts += 1
            if self._has_failed:
                self._producer, self._has_failed = self._new_producer(), False
            return self._producer

    def _new_producer(self) -> Producer:
        return Producer({**self._config, "error_cb": self._on_error})

    def _failed(self, error: str) -> None:
        self._counters.errors += 1
        self._counters.last_error = error
        _log.warning("sink failed", table=self.stand_in.name, error=error)

    def _on_error(self, error: KafkaError) -> None:
        self._has_failed = self._has_failed or error.fatal()
        self._failed(error.str())


def _scale(kind: str) -> int | None:
    """Units of a time column in a second; None if the type is no time."""
    name, _, arguments = kind.partition("(")
    if name == "DateTime":
        return 1
    return 10 ** int(arguments.split(",")[0].rstrip(")")) if name == "DateTime64" else None
