"""Makes dead letters of rejected rows and their raw messages, and delivers them to the dead-letter topic."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from schemas.coordinates import COORDINATES
from schemas.kafka_time import bounded_ms
from schemas.records import DeadLetter
from silver_processor.batching.batch import Message
from silver_processor.clickhouse import ClickHouse
from silver_processor.inserts.producer import ConfirmedProducer, OutgoingMessage
from silver_processor.retry import RetryPolicy

PROCESSOR_VERSION = version("medallion")
PAYLOAD_BYTES = 65_536
_TEXT_CHARACTERS = 65_536
_TIMES_US = ("timestamp", "received_at", "ingested_at")
_COORDINATES_A_QUERY = 500
# An exchange code is short. A longer one comes from a garbled message.
_EXCHANGE_CHARACTERS = 64
# A raw message can reach Bronze a moment before trades_raw shows it.
_RAW_LAG_SECONDS = 2.0
_RAW_POLL_SECONDS = 0.05
# The log of one insert shows so many groups of rejects. The metric counts all rejects by reason.
_LOGGED_GROUPS = 5
_RAW_MESSAGES = Path(__file__).with_name("sql").joinpath("payloads.sql").read_text(encoding="utf-8")
_log = structlog.get_logger(__name__)

# (raw_topic, raw_partition, raw_offset, published_at in ms)
Coordinates = tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class Payload:
    """A raw message's first `PAYLOAD_BYTES` bytes and its full length."""

    head: bytes
    size: int


class RawMessages:
    """The raw messages in trades_raw."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    def payloads(self, rejects: pa.Table) -> dict[Coordinates, Payload]:
        """The raw messages of rejected rows, as far as trades_raw has them. `rejects`: columns `REJECT_COLUMNS`.

        Raises:
            WorkerStoppedError: the worker stops.
        """
        payloads: dict[Coordinates, Payload] = {}
        frame = pl.DataFrame(rejects.select(["exchange", "raw_topic", "raw_partition", "raw_offset", "ingested_at"]))
        for (topic, partition), part in frame.group_by("raw_topic", "raw_partition", maintain_order=True):
            for piece in part.sort("raw_offset").iter_slices(_COORDINATES_A_QUERY):
                parameters = _payload_parameters(str(topic), partition, piece)
                for row in self._clickhouse.select(_RAW_MESSAGES, parameters, text=False).to_pylist():
                    place = (str(topic), int(str(partition)), row["_offset"], bounded_ms(row["published_ms"]))
                    payloads[place] = Payload(row["payload"], row["payload_bytes"])
        return payloads


def _payload_parameters(topic: str, partition: object, rows: pl.DataFrame) -> dict[str, Any]:
    exchanges = rows["exchange"].unique().sort().to_list()
    # The exchange narrows the search in the primary index, but a garbled message may have any text of any length there.
    any_exchange = any(len(exchange) > _EXCHANGE_CHARACTERS for exchange in exchanges)
    times = rows["ingested_at"].to_physical()
    return {
        "most": PAYLOAD_BYTES,
        "any_exchange": int(any_exchange),
        "exchanges": [] if any_exchange else exchanges,
        "earliest": times.min(),
        "latest": times.max(),
        "topic": topic,
        "partition": partition,
        "offsets": rows["raw_offset"].unique().to_list(),
    }


def records(
    rejects: pa.Table,
    payloads: Mapping[Coordinates, Payload],
    now: datetime,
    processor_version: str,
    rules_version: str,
) -> list[dict[str, Any]]:
    """One `DeadLetter` record for each rejected row (columns `REJECT_COLUMNS`), in order. `now` is UTC.

    A payload that is not UTF-8 is sent as base64. It is empty if trades_raw does not have the raw message.
    """
    rows = pl.DataFrame(rejects).with_columns(pl.col(name).cast(pl.Int64) for name in (*_TIMES_US, "published_at"))
    texts = [name for name, kind in rows.schema.items() if kind == pl.String]
    rows = rows.with_columns(pl.col(texts).str.slice(0, _TEXT_CHARACTERS))
    same_for_all = {
        "rejected_at": int(now.timestamp() * 1_000_000),
        "processor_version": processor_version,
        "rules_version": rules_version,
    }
    dead_letters: list[dict[str, Any]] = []
    for row in rows.iter_rows(named=True):
        place = (row["raw_topic"], row["raw_partition"], row["raw_offset"], row["published_at"])
        dead_letter = row | same_for_all | _payload(payloads.get(place))
        dead_letters.append({name: dead_letter[name] for name in DeadLetter.model_fields})
    return dead_letters


def _payload(message: Payload | None) -> dict[str, Any]:
    if message is None:
        return {"payload": "", "payload_bytes": 0, "payload_encoding": ""}
    try:
        text, encoding = message.head.decode(), ""
    except UnicodeDecodeError as error:
        # The head may end inside a character. Any other payload that is not UTF-8 keeps its bytes.
        is_cut = error.reason == "unexpected end of data" and message.size > len(message.head)
        text = message.head[: error.start].decode() if is_cut else base64.b64encode(message.head).decode()
        encoding = "" if is_cut else "base64"
    return {"payload": text, "payload_bytes": message.size, "payload_encoding": encoding}


def summary(rejects: pa.Table, most: int) -> list[dict[str, Any]]:
    """The groups of rejects, largest first, at most `most` of them.

    A group has reason, exchange, symbol and topic in common. With it come its count, and the partition and offset of
    its first raw message.
    """
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
    """The dead-letter topic."""

    def __init__(self, topic: str, producer: ConfirmedProducer) -> None:
        self._topic, self._producer = topic, producer

    def send(self, dead_letters: list[dict[str, Any]]) -> None:
        """Deliver the records (`records`). Return once all of them are durable.

        Raises:
            WorkerStoppedError: the worker stops before all are acknowledged.
            KafkaException: the producer failed for good. Only a new process can take over.
        """
        self._producer.send(
            self._topic,
            [
                OutgoingMessage(
                    f"{dead_letter['exchange'][:64]}:{dead_letter['symbol'][:64]}".encode(errors="replace"),
                    orjson.dumps(dead_letter),
                )
                for dead_letter in dead_letters
            ],
        )


class DeadLetterWriter:
    """Turns the rejects of one insert into dead letters and delivers them."""

    def __init__(
        self, bronze_topic: str, raw_messages: RawMessages, queue: DeadLetterQueue, retry: RetryPolicy
    ) -> None:
        self._bronze_topic, self._raw_messages, self._queue, self._retry = bronze_topic, raw_messages, queue, retry

    def write(self, rejects: pa.Table, messages: Sequence[Message], now: datetime, rules_version: str) -> None:
        """Deliver one dead letter for each reject (columns `REJECT_COLUMNS`). `messages`: those of the insert.

        Raises:
            WorkerStoppedError: the worker stops before all are acknowledged.
            KafkaException: the producer failed for good. Only a new process can take over.
        """
        if not rejects.num_rows:
            return
        payloads: dict[Coordinates, Payload] = {
            (self._bronze_topic, message.partition, message.offset, message.published_ms): Payload(
                message.unreadable[:PAYLOAD_BYTES], len(message.unreadable)
            )
            for message in messages
            if message.fault
        }
        from_raw = rejects.filter(pc.not_equal(rejects["raw_topic"], self._bronze_topic))
        if from_raw.num_rows:
            payloads |= self._raw_payloads(from_raw, now)
        self._queue.send(records(rejects, payloads, now, PROCESSOR_VERSION, rules_version))
        for group in summary(rejects, _LOGGED_GROUPS):
            _log.info("dead letters", **group)

    def _raw_payloads(self, rejects: pa.Table, now: datetime) -> dict[Coordinates, Payload]:
        """The raw messages of rejects. If a reject is younger than two seconds, wait for its message up to two
        seconds.
        """
        wanted = pl.DataFrame(rejects).select(COORDINATES).n_unique()
        is_recent = (now - max(rejects["ingested_at"].to_pylist())).total_seconds() < _RAW_LAG_SECONDS
        ends = time.monotonic() + (_RAW_LAG_SECONDS if is_recent else 0)
        while True:
            payloads = self._raw_messages.payloads(rejects)
            if len(payloads) >= wanted or time.monotonic() >= ends or self._retry.stop.wait(_RAW_POLL_SECONDS):
                return payloads
