"""The same messages give the same rows from the real Kafka engine and from the stand-in."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from deploy.embedded.clickhouse.kafka.definition import VIRTUAL_COLUMNS
from tests.conformance.engines import real_engine
from tests.kafka_engine.kafka import publish
from tests.kafka_engine.node import Node

pytestmark = [pytest.mark.conformance, pytest.mark.nightly]

TOPICS = ("src_a", "src_b", "src_c")
COLUMNS = (
    "hex(raw_data), _topic, hex(_key), _offset, _partition, _timestamp, _timestamp_ms, "
    "arrayMap(x -> hex(x), _headers.name), "
    "arrayMap(x -> hex(x), _headers.value), toTypeName(_topic), toTypeName(_key), toTypeName(_offset), "
    "toTypeName(_partition), toTypeName(_timestamp), toTypeName(_timestamp_ms), toTypeName(_headers.value)"
)
VALUES = [
    b'{"a": 1}',
    b'{"broken": ',
    b"",
    None,
    b"  \n\t [1, 2]\r\n ",
    b"[]",
    b"\0",
    b"a\0b\xff\xfe\x80",
    b"\xef\xbb\xbf{}",
    b"x" * 5_000_000,
    random.Random(1).randbytes(100_000),
    "₿ ünï 🎈".encode(),
    b"\n\n\n",
    b"last",
]
HEADERS = [None, [("h", b"1"), ("h", b"2"), ("empty", b""), ("null", None), ("bytes", b"\xff\0")]]
KEYS = [None, b"", b"key", b"\xff\0\n"]


def table(brokers: str, group: str) -> str:
    return (
        "CREATE TABLE m.q (raw_data String) ENGINE = Kafka SETTINGS "
        f"kafka_broker_list = '{brokers}', kafka_topic_list = '{','.join(TOPICS)}', kafka_group_name = '{group}', "
        "kafka_format = 'RawBLOB', kafka_flush_interval_ms = 500, kafka_poll_timeout_ms = 2000, "
        "kafka_commit_on_select = 1"
    )


def test_rows_and_virtual_columns_are_those_of_the_real_engine(brokers: str, tmp_path: Path) -> None:
    publish(
        brokers,
        (
            {
                "topic": topic,
                "partition": number % 3,
                "value": value,
                "key": KEYS[number % len(KEYS)],
                "headers": HEADERS[number % 2],
                "timestamp": 1_700_000_000_123 + 1001 * number,
            }
            for topic in TOPICS
            for number, value in enumerate(VALUES)
        ),
        **{"compression.type": "lz4"},
    )
    count = len(TOPICS) * sum(bool(value) for value in VALUES)
    real = real_engine(
        ["CREATE DATABASE m ENGINE = Atomic", table(brokers, "real")],
        f"SELECT {COLUMNS} FROM m.q SETTINGS stream_like_engine_allow_direct_select = 1",
        count,
    )
    with Node(tmp_path, brokers=brokers) as node:
        node.query("CREATE DATABASE m ENGINE = Atomic")
        node.query(table("ignored:1", "ours"))
        node.query(f"CREATE MATERIALIZED VIEW m.v ENGINE = MergeTree ORDER BY tuple() AS SELECT {COLUMNS} FROM m.q")
        node.wait_for("SELECT count() FROM m.v", [[count]])
        ours = node.rows("SELECT * FROM m.v")
    assert len(real) == count
    assert sorted(ours) == sorted(real)


def test_virtual_columns_are_declared_as_the_real_engine_declares_them(brokers: str) -> None:
    described = real_engine(
        ["CREATE DATABASE m ENGINE = Atomic", table(brokers, "described")],
        "DESCRIBE m.q SETTINGS describe_include_virtual_columns = 1",
        1,
    )
    virtual = {row[0]: row[1] for row in described if row[-1] and row[0] != "_table"}
    assert virtual == VIRTUAL_COLUMNS
