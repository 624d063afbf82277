"""Rejected rows to records of the dead-letter topic, and their delivery."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from config.connections import kafka_client
from config.settings import Settings
from schemas.records import DeadLetter
from silver_processor.patience import Patience, StoppedError
from silver_processor.store import Coordinates, Payload

_LONGEST_TEXT = 65_536
_POLL_SECONDS = 0.1
_NUMBERS = ("timestamp", "received_at", "ingested_at")


def records(
    rejects: pa.Table,
    payloads: Mapping[Coordinates, Payload],
    now: datetime,
    processor_version: str,
    rules_version: str,
) -> list[dict[str, Any]]:
    """One `DeadLetter` record a rejected row (columns `REJECT_COLUMNS`), in order; `now` is UTC.

    A payload that is not UTF-8 travels as base64; a raw message that trades_raw no longer has leaves it empty.
    """
    rows = pl.DataFrame(rejects).with_columns(pl.col(name).cast(pl.Int64) for name in (*_NUMBERS, "published_at"))
    texts = [name for name, kind in rows.schema.items() if kind == pl.String]
    rows = rows.with_columns(pl.col(texts).str.slice(0, _LONGEST_TEXT))
    stamp = {
        "rejected_at": int(now.timestamp() * 1_000_000),
        "processor_version": processor_version,
        "rules_version": rules_version,
    }
    letters: list[dict[str, Any]] = []
    for row in rows.iter_rows(named=True):
        place = (row["raw_topic"], row["raw_partition"], row["raw_offset"], row["published_at"])
        letter = row | stamp | _payload(payloads.get(place))
        letters.append({name: letter[name] for name in DeadLetter.model_fields})
    return letters


def _payload(found: Payload | None) -> dict[str, Any]:
    if found is None:
        return {"payload": "", "payload_bytes": 0, "payload_encoding": ""}
    try:
        text, encoding = found.head.decode(), ""
    except UnicodeDecodeError as error:
        # The cut may fall inside a character; anything else that is not UTF-8 keeps its bytes.
        cut = error.reason == "unexpected end of data" and found.size > len(found.head)
        text = found.head[: error.start].decode() if cut else base64.b64encode(found.head).decode()
        encoding = "" if cut else "base64"
    return {"payload": text, "payload_bytes": found.size, "payload_encoding": encoding}


def summary(rejects: pa.Table, most: int) -> list[dict[str, Any]]:
    """The `most` frequent kinds of rejects: reason, market, where the first raw message of its kind is, how many."""
    kind = {"reason": "reason", "exchange": "exchange", "symbol": "symbol", "raw_topic": "topic"}
    return (
        pl.DataFrame(rejects)
        .group_by([pl.col(column).cast(pl.String).alias(name) for column, name in kind.items()], maintain_order=True)
        .agg(
            pl.col("raw_partition").first().alias("partition"),
            pl.col("raw_offset").first().alias("offset"),
            pl.len().alias("count"),
        )
        .sort("count", descending=True, maintain_order=True)
        .head(most)
        .to_dicts()
    )


class DeadLetterQueue:
    """The dead-letter topic; `send` returns when every record is acknowledged by all in-sync replicas."""

    def __init__(self, settings: Settings, patience: Patience) -> None:
        self._topic = settings.dlq_topic
        self._patience = patience
        self._failed: list[KafkaError] = []
        self._producer = Producer(
            {
                **kafka_client(settings),
                "enable.idempotence": True,
                "acks": "all",
                "compression.type": "lz4",
                "linger.ms": 0,
                "message.max.bytes": settings.kafka_max_message_bytes,
                # A broker that is away is waited for.
                "message.timeout.ms": 0,
            }
        )

    def send(self, letters: list[dict[str, Any]]) -> None:
        """Deliver the records.

        Raises:
            StoppedError: the worker stops before all are acknowledged.
            KafkaException: the producer failed for good; a new process must take over.
        """
        self._failed.clear()
        for letter in letters:
            key = f"{letter['exchange'][:64]}:{letter['symbol'][:64]}"
            self._produce(key.encode(errors="replace"), orjson.dumps(letter))
        log = structlog.get_logger()
        while self._producer.flush(_POLL_SECONDS):
            if self._patience.stop.is_set():
                raise StoppedError("stopped while dead letters were not acknowledged")
        if self._failed:
            log.error("dead letters not delivered", error=str(self._failed[0]), count=len(self._failed))
            raise KafkaException(self._failed[0])

    def _produce(self, key: bytes, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(self._topic, value=value, key=key, on_delivery=self._delivered)
            except BufferError:
                self._producer.poll(_POLL_SECONDS)
                if self._patience.stop.is_set():
                    raise StoppedError("stopped while the dead-letter queue was full") from None
            else:
                return

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failed.append(error)
