"""Decodes Bronze messages (Avro object containers) into Arrow tables."""

from __future__ import annotations

import io
import re

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from schemas.kafka_time import bounded_ms
from schemas.records import BRONZE, BronzeTrade


class BronzeUnreadableError(ValueError):
    """The message is not an Avro container with the Bronze columns. It becomes a dead letter."""


_SYNC_BYTES = 16
# Fields that later versions added, with their defaults. A message from before an upgrade may still be in the topic.
_ADDED_FIELDS = {name: field.default for name, field in BronzeTrade.model_fields.items() if not field.is_required()}
# Replacing the first text by the second makes Avro strings bytes. Both have 8 bytes, so the header keeps its length.
_AS_TEXT, _AS_BYTES = b'"string"', b'"bytes" '
_DEFAULT = re.compile(rb',\s*"default"\s*:\s*""|"default"\s*:\s*""\s*,')
# Well-formed UTF-8, byte by byte (RFC 3629, section 4).
_UTF8 = (
    r"^(?:[\x00-\x7f]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}"
    r"|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2})*$"
)
# polars panics on some damaged containers.
_FAILURES = (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException, OSError)


def decode(message: bytes) -> pa.Table:
    """A Bronze message as a table with the schema `schemas.records.BRONZE`, rows in the message's order.

    Codecs: null, deflate, snappy. Text fields may be Avro strings or bytes (ClickHouse's default). A text that is not
    UTF-8 becomes `\\x` and the hexadecimal digits of its bytes, so that the rules can reject the row.

    Raises:
        BronzeUnreadableError: no Avro container, a column is missing, or a value does not fit its column's type.
    """
    message = _without_defaults(message)
    try:
        return _conform(pl.read_avro(io.BytesIO(message)))
    except _FAILURES as error:
        # One string that is not UTF-8 fails the whole message. Read all strings as bytes.
        if "utf" not in str(error).lower():
            raise _unreadable(error) from error
    try:
        return _conform(pl.read_avro(io.BytesIO(_text_as_bytes(message))))
    except _FAILURES as error:
        raise _unreadable(error) from error


def _unreadable(error: BaseException) -> BronzeUnreadableError:
    return BronzeUnreadableError(f"{type(error).__name__}: {error}")


def _without_defaults(message: bytes) -> bytes:
    """The container with spaces in place of the fields' defaults. polars cannot read a schema with defaults."""
    header = message[: message.find(message[-_SYNC_BYTES:])]
    plain = _DEFAULT.sub(lambda default: b" " * len(default[0]), header)
    return message if plain == header else plain + message[len(header) :]


def _text_as_bytes(message: bytes) -> bytes:
    """The container with every string field declared as bytes."""
    # The header ends with the sync marker, as the container does.
    end = message.find(message[-_SYNC_BYTES:])
    return message[:end].replace(_AS_TEXT, _AS_BYTES) + message[end:]


def _conform(frame: pl.DataFrame) -> pa.Table:
    absent = [pl.lit(default).alias(name) for name, default in _ADDED_FIELDS.items() if name not in frame.columns]
    frame = frame.with_columns(absent).select(BRONZE.names)
    binary = [name for name, kind in frame.schema.items() if kind == pl.Binary]
    if binary:
        frame = frame.with_columns(_text(frame[name]) for name in binary)
    if any(series.null_count() for series in frame):
        raise BronzeUnreadableError("a column has nulls: Bronze columns are not nullable")
    table = frame.to_arrow()
    columns = [
        column.cast(pa.timestamp(column.type.unit, "UTC")) if pa.types.is_timestamp(column.type) else column
        for column in table.columns
    ]
    return _bounded(pa.table(columns, names=table.column_names).cast(BRONZE))


def _bounded(table: pa.Table) -> pa.Table:
    """The rows with Kafka timestamps in the range that every layer can store.

    Only rows of foreign producers, or of versions before 0.2, have others.
    """
    place = table.schema.get_field_index("published_at")
    times = pc.cast(table.column(place), pa.int64())
    spread = pc.min_max(times)
    if all(value.as_py() in {None, bounded_ms(value.as_py() or 0)} for value in spread.values()):
        return table
    fitting = pa.array([bounded_ms(time) for time in times.to_pylist()], pa.int64())
    return table.set_column(place, table.field(place), fitting.cast(table.field(place).type))


def _text(column: pl.Series) -> pl.Series:
    # Unlike polars, Arrow matches a pattern against binary columns, byte by byte.
    readable = pl.Series(column.name, pc.match_substring_regex(column.to_arrow(), _UTF8), dtype=pl.Boolean)
    rows = pl.select(column, readable.alias("readable"))
    value = pl.col(column.name)
    text = pl.when("readable").then(value).otherwise(pl.lit(b"")).cast(pl.String)
    return rows.select(pl.when("readable").then(text).otherwise(pl.lit("\\x") + value.bin.encode("hex"))).to_series()
