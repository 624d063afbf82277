"""The migrations on the real Kafka engine: raw topics → Raw → Bronze → Bronze topic, as on the stand-in.

chDB starts no consumer for a view on a Kafka table: a table without rows hands on to the view what is read by hand. The
rest is the engine's.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest
from confluent_kafka import Message

from config.settings import Settings
from ddl.plan import without_superseded
from ddl.render import render
from ddl.statements import MigrationStatement
from deploy.embedded.clickhouse.kafka.definition import VIRTUAL_COLUMNS
from tests.conformance.engines import real_engine
from tests.conformance.test_source import VALUES
from tests.ddl.feed import envelope
from tests.kafka_engine.kafka import publish, read
from tests.kafka_engine.node import Node

# Its siblings: test_source.py and test_sink.py, the two ends of it.
pytestmark = [pytest.mark.conformance, pytest.mark.deploy_real, pytest.mark.nightly, pytest.mark.timeout(300)]
EXCHANGES = ("binance", "kraken")
# Real views on these would wait for a consumer.
QUEUES = {"trades_raw_queue", "dlq_trades_queue", "producer_gaps_queue"}
TIMES = ["1723161600123", "1723161600.5", "2024-08-09T00:00:00.123456Z", "2024-08-09 02:00:00+02:00", "soon", "", "-1"]
RAW = "_topic, _partition, _offset, exchange, symbol, trade_id, price, quantity, timestamp_raw, side, hex(raw_json)"
READ_BY_VIEW = ("_topic", "_partition", "_offset", "_timestamp_ms")
READ = f"SELECT {RAW} FROM medallion.trades_raw ORDER BY _topic, _partition, _offset"


def messages(settings: Settings) -> list[dict[str, Any]]:
    """Trades with times of every form and numbers instead of texts, and what is no trade, on every topic."""
    trades = [
        envelope(exchange=exchange, symbol=f"S{number % 5}", trade_id=str(number), timestamp=time)
        for number, time in enumerate(TIMES * 3)
        for exchange in EXCHANGES
    ]
    numbers = json.dumps({"exchange": "kraken", "symbol": "BTC/USD", "trade_id": 7, "price": 1.50, "quantity": 2e-8})
    values = [*trades, numbers.encode(), *(value for value in VALUES if value)]
    return [
        {"topic": topic, "partition": number % 2, "value": value, "timestamp": 1_723_161_600_000 + number}
        for topic in settings.raw_topics
        for number, value in enumerate(values)
    ]


def of(side: str, brokers: str) -> tuple[Settings, list[MigrationStatement]]:
    settings = Settings(
        exchanges=EXCHANGES,
        clickhouse_kafka_brokers=brokers,
        bronze_shards=2,
        bronze_topic=f"{side}.bronze",
        raw_consumer_group=side,
        kafka_flush_interval_ms=2_000,
    )
    return settings, list(without_superseded(render(settings), ()))


def rows_of(message: Message) -> list[tuple[bytes | None, str]]:
    """The rows of a Bronze message with its key; when ClickHouse took them is not the same twice."""
    rows = list(fastavro.reader(io.BytesIO(message.value())))
    return [(message.key(), repr({name: row[name] for name in sorted(row) if not _is_ours(name, row)})) for row in rows]


def _is_ours(name: str, row: Any) -> bool:
    # A message whose time cannot be read has the time of its arrival here.
    return name == "ingested_at" or (name == "timestamp" and row["timestamp"] == row["ingested_at"])


def test_the_migrations_give_the_same_rows_and_messages(brokers: str, tmp_path: Path) -> None:
    settings, statements = of("real", brokers)
    published = messages(settings)
    publish(brokers, published)
    kinds = {"raw_data": "String"} | {name: VIRTUAL_COLUMNS[name] for name in READ_BY_VIEW}
    relay, columns = ", ".join(f"{name} {kind}" for name, kind in kinds.items()), ", ".join(kinds)
    (view,) = (one.sql for one in statements if one.object == "trades_raw_mv")
    database = "CREATE DATABASE medallion ENGINE = Atomic"
    real = real_engine(
        [
            database,
            *(one.sql for one in statements if one.source not in QUEUES),
            f"CREATE TABLE medallion.relay ({relay}) ENGINE = Null",
            view.replace("medallion.trades_raw_queue", "medallion.relay"),
        ],
        READ,
        len(published),
        feed=f"INSERT INTO medallion.relay ({columns}) SELECT {columns} FROM medallion.trades_raw_queue"
        " SETTINGS stream_like_engine_allow_direct_select = 1",
    )
    ours_settings, ours_statements = of("ours", "ignored:1")
    with Node(tmp_path / "node", brokers=brokers) as node:
        for sql in (database, *(one.sql for one in ours_statements)):
            node.query(sql)
        node.wait_for("SELECT count() FROM medallion.trades_raw", [[len(published)]])
        ours = node.rows(READ)
        assert len(real) == len(published)
        assert ours == real
        sent = {
            topic: [row for message in read(brokers, topic, 1) for row in rows_of(message)]
            for topic in (settings.bronze_topic, ours_settings.bronze_topic)
        }
    assert len(sent[settings.bronze_topic]) == len(published)
    assert sorted(sent[ours_settings.bronze_topic], key=repr) == sorted(sent[settings.bronze_topic], key=repr)
