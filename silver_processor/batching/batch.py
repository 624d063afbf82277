"""The messages of one insert: decodes them, validates their rows, and adds the columns that are the insert's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.reasons import MEANINGS, Reason
from schemas.records import BRONZE, DUPLICATE, SILVER
from silver_processor.batching.decode import BronzeUnreadableError, decode
from silver_processor.core.refine import REJECT_COLUMNS, VALUE_CHARACTERS, refine
from silver_processor.core.rules import Rules

_MESSAGE_COLUMNS = ("bronze_partition", "bronze_offset", "bronze_published_at")
_INSERT_COLUMNS = ("insert_token", "validated_at")
WITHOUT_INSERT_COLUMNS = pa.schema([field for field in SILVER if field.name not in _INSERT_COLUMNS])


@dataclass(frozen=True, slots=True)
class Message:
    """A decoded Bronze message: partition, offset, Kafka timestamp (ms since the epoch) and rows (schema `BRONZE`).

    A message that could not be decoded has no rows, the error in `fault`, and its bytes in `unreadable`.
    """

    partition: int
    offset: int
    published_ms: int
    rows: pa.Table
    fault: str = ""
    unreadable: bytes = b""


@dataclass(frozen=True, slots=True)
class Validated:
    """The rows of one insert before de-duplication, and the version of the rules that validated them.

    `valid`: schema `WITHOUT_INSERT_COLUMNS`. `rejects`: columns `REJECT_COLUMNS`.
    """

    valid: pa.Table
    rejects: pa.Table
    rules_version: str


def decode_message(partition: int, offset: int, published_ms: int, value: bytes | None) -> Message:
    """Decode a Bronze message. One that cannot be decoded becomes a message with a fault and without rows."""
    try:
        return Message(partition, offset, published_ms, decode(value or b""))
    except BronzeUnreadableError as error:
        return Message(partition, offset, published_ms, BRONZE.empty_table(), str(error), value or b"")


def validate(messages: Sequence[Message], topic: str, rules: Rules, now: datetime) -> Validated:
    """Apply the rules to all rows. A message that could not be decoded becomes one reject, ingested at `now` (UTC).

    `topic`: the Bronze topic, which stands in for the raw topic in such a reject.
    """
    refined = refine(_with_message_columns(messages), rules)
    unreadable = [_unreadable(message, topic, now) for message in messages if message.fault]
    rejects = refined.rejects
    if unreadable:
        rejects = pa.concat_tables([rejects, pa.Table.from_pylist(unreadable, schema=rejects.schema)])
    return Validated(refined.valid.select(WITHOUT_INSERT_COLUMNS.names), rejects, rules.version)


def with_insert_columns(valid: pa.Table, token: str, now: datetime) -> pa.Table:
    """The valid rows with the token and time (`now`, UTC) of their insert: schema `SILVER`."""
    for name, value in zip(_INSERT_COLUMNS, (token, now), strict=True):
        field = SILVER.field(name)
        valid = valid.append_column(field, pa.repeat(pa.scalar(value, field.type), valid.num_rows))
    return valid.select(SILVER.names)


def duplicate_rows(rows: pa.Table, now: datetime) -> pa.Table:
    """The rows of duplicate_trades (schema `DUPLICATE`) for rows of schema `SILVER`, seen at `now` (UTC)."""
    seen = rows.append_column("seen_at", pa.repeat(pa.scalar(now, DUPLICATE.field("seen_at").type), rows.num_rows))
    return seen.select(DUPLICATE.names).cast(DUPLICATE)


def _with_message_columns(messages: Sequence[Message]) -> pa.Table:
    """All rows, each with the partition, offset and Kafka timestamp of its message."""
    table = pa.concat_tables([message.rows for message in messages]).combine_chunks()
    places = [(message.partition, message.offset, message.published_ms) for message in messages]
    counts = [message.rows.num_rows for message in messages]
    for name, values in zip(_MESSAGE_COLUMNS, zip(*places, strict=True), strict=True):
        field = SILVER.field(name)
        column = pa.array(np.repeat(np.array(values, dtype=np.int64), counts)).cast(field.type)
        table = table.append_column(field, column)
    return table


def _unreadable(message: Message, topic: str, now: datetime) -> dict[str, Any]:
    meaning = MEANINGS[Reason.BRONZE_UNREADABLE]
    published = datetime.fromtimestamp(message.published_ms / 1000, tz=now.tzinfo)
    return dict.fromkeys(REJECT_COLUMNS, "") | {
        "reason": Reason.BRONZE_UNREADABLE.value,
        "field": meaning.field,
        "value": message.fault[:VALUE_CHARACTERS],
        "rule": meaning.rule,
        "timestamp": published,
        "raw_topic": topic,
        "raw_partition": message.partition,
        "raw_offset": message.offset,
        "published_at": published,
        "received_at": published,
        "ingested_at": now,
    }
