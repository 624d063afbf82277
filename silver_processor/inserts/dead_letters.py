"""Rejected rows to records of the dead-letter topic, and their delivery."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson
import polars as pl
import pyarrow as pa

from schemas.records import DeadLetter
from silver_processor.inserts.delivery import Delivery, Outgoing
from silver_processor.inserts.store import Coordinates, Payload

_LONGEST_TEXT = 65_536
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
    """The dead-letter topic."""

    def __init__(self, topic: str, delivery: Delivery) -> None:
        self._topic, self._delivery = topic, delivery

    def send(self, letters: list[dict[str, Any]]) -> None:
        """Deliver the records; return when every one is durable.

        Raises:
            StoppedError: the worker stops before all are acknowledged.
            KafkaException: the producer failed for good; a new process must take over.
        """
        self._delivery.send(
            self._topic,
            [
                Outgoing(
                    f"{letter['exchange'][:64]}:{letter['symbol'][:64]}".encode(errors="replace"), orjson.dumps(letter)
                )
                for letter in letters
            ],
        )
