"""Turns consumed Kafka messages into the block of rows that the Kafka engine would make of them."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

Partition = tuple[str, int]
Bounds = tuple[int, int]


@dataclass(frozen=True)
class Block:
    """Rows of consecutive messages, ready to insert.

    Attributes:
        rows: the columns that have values; others get their defaults. As with the engine's RawBLOB, an empty message
            and a tombstone have no row.
        messages: number of messages by partition.
        bounds: by partition, the first offset, and the offset after the last one, which is committed.
        token: a digest of offsets and Kafka times by partition. The same messages always have the same token.
    """

    rows: pa.Table
    messages: Mapping[Partition, int]
    bounds: Mapping[Partition, Bounds]
    token: str


def block(column: str, messages: Sequence[Message]) -> Block:
    """Turn messages without errors into a block. Rows of a partition stay together.

    Args:
        column: the name of the table's only column, which gets the message's bytes.
        messages: in the order of consumption, ascending by offset within a partition.
    """
    by_partition: dict[Partition, list[Message]] = {}
    for message in messages:
        by_partition.setdefault((message.topic(), message.partition()), []).append(message)
    groups = dict(sorted(by_partition.items()))
    bounds = {partition: (group[0].offset(), group[-1].offset() + 1) for partition, group in groups.items()}
    counts = {partition: len(group) for partition, group in groups.items()}
    times = array("q", [message.timestamp()[1] for group in groups.values() for message in group])
    named = orjson.dumps([[*partition, *bounds[partition], counts[partition]] for partition in groups])
    rows = {partition: filled for partition, group in groups.items() if (filled := [m for m in group if m.value()])}
    return Block(
        rows=_rows(column, rows) if rows else pa.table({}),
        messages=counts,
        bounds=bounds,
        token=hashlib.blake2b(named + times.tobytes(), digest_size=16).hexdigest(),
    )


def _rows(column: str, groups: Mapping[Partition, Sequence[Message]]) -> pa.Table:
    messages = [message for group in groups.values() for message in group]
    stamps = [message.timestamp() for message in messages]
    milliseconds = pa.array([None if kind == TIMESTAMP_NOT_AVAILABLE else at for kind, at in stamps], pa.int64())
    sizes = [len(group) for group in groups.values()]
    arrays: dict[str, pa.Array] = {
        column: pa.array([message.value() for message in messages], pa.binary()),
        "_topic": _repeated([topic for topic, _ in groups], sizes, pa.string()),
        "_key": pa.array([message.key() or b"" for message in messages], pa.binary()),
        "_offset": pa.array([message.offset() for message in messages], pa.uint64()),
        "_partition": _repeated([number for _, number in groups], sizes, pa.uint64()),
        "_timestamp": pc.divide(milliseconds, 1000).cast(pa.timestamp("s")),
        "_timestamp_ms": milliseconds.cast(pa.timestamp("ms")),
    }
    headers = [_headers(message) for message in messages]
    if any(headers):
        names = [[name for name, _ in given] for given in headers]
        values = [[value or b"" for _, value in given] for given in headers]
        arrays["_headers.name"] = pa.array(names, pa.list_(pa.string()))
        arrays["_headers.value"] = pa.array(values, pa.list_(pa.binary()))
    return pa.table(arrays)


def _repeated(values: Sequence[str | int], times: Sequence[int], kind: pa.DataType) -> pa.Array:
    """Repeat each value."""
    return pa.concat_arrays([pa.repeat(pa.scalar(value, kind), n) for value, n in zip(values, times, strict=True)])


def _headers(message: Message) -> list[tuple[str, bytes | None]]:
    """The message's headers; none if a name is not UTF-8, because the client library cannot return such headers."""
    try:
        return message.headers() or []
    except (UnicodeDecodeError, SystemError):
        return []
