"""Consumed Kafka messages as the block of rows that the Kafka engine would make of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

Partition = tuple[str, int]


@dataclass(frozen=True)
class Block:
    """Rows of consecutive messages, ready to insert.

    Attributes:
        columns: names of the columns in `data`; the others have their defaults.
        data: the rows as an Arrow stream; empty if no message has a row.
        rows: rows in `data`; an empty message and a tombstone have none, as with the engine's RawBLOB.
        messages: messages by partition.
        first: the first offset by partition.
        next: the offset to go on from by partition, which is what gets committed.
    """

    columns: tuple[str, ...]
    data: memoryview
    rows: int
    messages: dict[Partition, int]
    first: dict[Partition, int]
    next: dict[Partition, int]


def block(column: str, messages: Sequence[Message]) -> Block:
    """Turn messages without errors into a block.

    Args:
        column: the name of the table's one column, which takes the message's bytes.
        messages: in the order of consumption, ascending by offset within a partition.
    """
    partitions = [(message.topic(), message.partition()) for message in messages]
    offsets = [message.offset() for message in messages]
    last = dict(zip(partitions, offsets, strict=True))
    rows = [message for message in messages if message.value()]
    names, data = _rows(column, rows) if rows else ([], memoryview(b""))
    return Block(
        columns=tuple(names),
        data=data,
        rows=len(rows),
        messages=dict(Counter(partitions)),
        first=dict(zip(reversed(partitions), reversed(offsets), strict=True)),
        next={partition: offset + 1 for partition, offset in last.items()},
    )


def _rows(column: str, messages: Sequence[Message]) -> tuple[list[str], memoryview]:
    stamps = [message.timestamp() for message in messages]
    milliseconds = pa.array([None if kind == TIMESTAMP_NOT_AVAILABLE else at for kind, at in stamps], pa.int64())
    arrays: dict[str, pa.Array] = {
        column: pa.array([message.value() for message in messages], pa.binary()),
        "_topic": pa.array([message.topic() for message in messages], pa.string()),
        "_key": pa.array([message.key() or b"" for message in messages], pa.binary()),
        "_offset": pa.array([message.offset() for message in messages], pa.uint64()),
        "_partition": pa.array([message.partition() for message in messages], pa.uint64()),
        "_timestamp": pa.compute.divide(milliseconds, 1000).cast(pa.timestamp("s")),
        "_timestamp_ms": milliseconds.cast(pa.timestamp("ms")),
    }
    headers = [_headers(message) for message in messages]
    if any(headers):
        names = [[name for name, _ in given] for given in headers]
        values = [[value or b"" for _, value in given] for given in headers]
        arrays["_headers.name"] = pa.array(names, pa.list_(pa.string()))
        arrays["_headers.value"] = pa.array(values, pa.list_(pa.binary()))
    table = pa.table(arrays)
    target = pa.BufferOutputStream()
    with pa.ipc.new_stream(target, table.schema) as writer:
        writer.write_table(table)
    return table.column_names, memoryview(target.getvalue())


def _headers(message: Message) -> list[tuple[str, bytes | None]]:
    """The message's headers; none where a name is not UTF-8, which the client library cannot give."""
    try:
        return message.headers() or []
    except (UnicodeDecodeError, SystemError):
        return []
