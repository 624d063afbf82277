"""The same rows give the same Avro messages from the real Kafka engine and from the stand-in."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import polars as pl
import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, Message

from tests.conformance.engines import real_engine
from tests.kafka_engine.kafka import read
from tests.kafka_engine.node import Node

pytestmark = [pytest.mark.conformance, pytest.mark.nightly]

_TYPES = (
    "s String, l LowCardinality(String), n Nullable(String), u32 UInt32, u64 UInt64, i64 Int64, f Nullable(Float64), "
    "t3 DateTime64(3, 'UTC'), t6 DateTime64(6, 'UTC'), t0 DateTime('UTC'), "
    "e Enum8('BUY' = 1, 'SELL' = 2), d Decimal(38, 18)"
)
_ROWS = (
    "concat('s', toString(number)) AS s, 'lc' AS l, if(number % 2 = 0, NULL, 'x') AS n, toUInt32(number) AS u32, "
    "18446744073709551615 - number AS u64, toInt64(-number) AS i64, if(number = 1, NULL, number / 3) AS f, "
    "toDateTime64(1700000000.123 + number, 3, 'UTC') AS t3, toDateTime64(1700000000.123456, 6, 'UTC') AS t6, "
    "toDateTime(1700000000, 'UTC') AS t0, if(number % 2 = 0, 'BUY', 'SELL') AS e, "
    "toDecimal128('0.000000000000000001', 18) AS d"
)
# name: columns, settings, rows of the insert, messages expected of the real engine
CASES: dict[str, tuple[str, str, str, int]] = {
    "all_types": (
        f"_key String, {_TYPES}",
        "kafka_max_rows_per_message = 4, output_format_avro_codec = 'null'",
        f"SELECT 'k' AS _key, {_ROWS} FROM numbers(10)",
        3,
    ),
    "strings_as_bytes": (
        f"_key String, {_TYPES}",
        "kafka_max_rows_per_message = 7, output_format_avro_codec = 'deflate', "
        "output_format_avro_string_column_pattern = '^s$'",
        f"SELECT 'k' AS _key, {_ROWS} FROM numbers(7)",
        1,
    ),
    "rows_in_file": (
        f"_key String, {_TYPES}",
        "kafka_max_rows_per_message = 8192, output_format_avro_codec = 'snappy', "
        "output_format_avro_rows_in_file = 8192, "
        "output_format_avro_string_column_pattern = '.*'",
        f"SELECT 'k' AS _key, {_ROWS} FROM numbers(20000)",
        3,
    ),
    "key_of_the_last_row": (
        "_key String, s String",
        "kafka_max_rows_per_message = 3, output_format_avro_codec = 'null'",
        "SELECT concat('k', toString(number)) AS _key, toString(number) AS s FROM numbers(8)",
        3,
    ),
    "empty_key": (
        "_key String, s String",
        "kafka_max_rows_per_message = 1, output_format_avro_codec = 'null'",
        "SELECT '' AS _key, toString(number) AS s FROM numbers(2)",
        2,
    ),
    "key_with_any_bytes": (
        "_key String, s String",
        "kafka_max_rows_per_message = 1, output_format_avro_codec = 'null'",
        "SELECT unhex('FF000A27') AS _key, 'a' AS s",
        1,
    ),
    "no_key": ("s String", "kafka_max_rows_per_message = 2", "SELECT toString(number) AS s FROM numbers(5)", 3),
    "nullable_key": (
        "_key Nullable(String), s String",
        "kafka_max_rows_per_message = 2",
        "SELECT 'k' AS _key, toString(number) AS s FROM numbers(2)",
        1,
    ),
    "low_cardinality_key": (
        "_key LowCardinality(String), s String",
        "kafka_max_rows_per_message = 2",
        "SELECT 'k' AS _key, toString(number) AS s FROM numbers(2)",
        1,
    ),
    "timestamp": (
        "_key String, _timestamp DateTime, s String",
        "kafka_max_rows_per_message = 2, output_format_avro_codec = 'null'",
        "SELECT 'k' AS _key, toDateTime(1000 + number) AS _timestamp, toString(number) AS s FROM numbers(3)",
        2,
    ),
    "one_row_a_message_by_default": (
        "_key String, s String",
        "",
        "SELECT 'k' AS _key, toString(number) AS s FROM numbers(3)",
        3,
    ),
    "without_rows": ("_key String, s String", "", "SELECT 'k' AS _key, 's' AS s FROM numbers(0)", 0),
}


def create(name: str, brokers: str, topic: str) -> str:
    columns, settings, _, _ = CASES[name]
    return (
        f"CREATE TABLE m.{name} ({columns}) ENGINE = Kafka SETTINGS "
        f"kafka_broker_list = '{brokers}', "
        f"kafka_topic_list = '{topic}', kafka_group_name = 'g', kafka_format = 'Avro'"
        f"{', ' if settings else ''}{settings}"
    )


def described(message: Message) -> tuple[Any, ...]:
    """Everything of a message that must be equal: the sync marker and where it landed are not."""
    value = message.value()
    reader = fastavro.reader(io.BytesIO(value), handle_unicode_errors="surrogateescape")
    if reader.codec == "snappy":
        frame = pl.read_avro(io.BytesIO(value))
        rows = frame.rows()
    else:
        rows = list(reader)
    kind, at = message.timestamp()
    early = at if kind == TIMESTAMP_CREATE_TIME and at < 1_600_000_000_000 else "now"
    return message.key(), early, message.headers(), reader.codec, repr(reader.writer_schema), repr(rows)


@pytest.fixture(scope="module")
def messages(brokers: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[Message]]]:
    """Per engine and case, the messages of the same insert."""
    database = "CREATE DATABASE m ENGINE = Atomic"
    inserts = [f"INSERT INTO m.{name} {rows}" for name, (_, _, rows, _) in CASES.items()]
    real_engine([database, *(create(name, brokers, f"real_{name}") for name in CASES), *inserts])
    with Node(tmp_path_factory.mktemp("node"), brokers=brokers) as node:
        for sql in [database, *(create(name, "ignored:1", f"ours_{name}") for name in CASES), *inserts]:
            node.query(sql)
    return {
        side: {name: read(brokers, f"{side}_{name}", case[3]) for name, case in CASES.items()}
        for side in ("real", "ours")
    }


@pytest.mark.parametrize("name", CASES)
def test_messages_are_those_of_the_real_engine(
    name: str, messages: dict[str, dict[str, list[Message]]], brokers: str
) -> None:
    real, ours = messages["real"][name], messages["ours"][name]
    assert len(real) == CASES[name][3]
    assert sorted(map(described, ours), key=repr) == sorted(map(described, real), key=repr)
    if real and real[0].key():
        # Messages of one key keep their order within its partition.
        assert [m.partition() for m in sorted(ours, key=Message.key)] == [
            m.partition() for m in sorted(real, key=Message.key)
        ]
