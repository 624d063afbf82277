"""Measures stages in the ClickHouse node: raw messages to blocks, blocks to Bronze, Bronze to the Bronze topic."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from uuid import uuid4

from clickhouse_driver import Client

from bench.isolated import Lap, lap
from bench.load import SOURCES
from bench.stages.material import broker, read_all, trades
from config.settings import Settings
from ddl.runner import apply
from deploy.embedded.clickhouse.access import Access
from deploy.embedded.clickhouse.endpoint import Endpoint
from deploy.embedded.clickhouse.engine import config as configuration
from deploy.embedded.clickhouse.engine.config import Limits
from deploy.embedded.clickhouse.engine.engine import Engine
from deploy.embedded.clickhouse.engine.engine_session import EngineSession
from deploy.embedded.clickhouse.kafka import KafkaTables
from deploy.embedded.clickhouse.kafka.blocks import Block, block
from deploy.embedded.clickhouse.kafka.catalog import Name, StandIn, read_catalog
from deploy.embedded.clickhouse.kafka.clients import producer_config
from deploy.embedded.clickhouse.kafka.feed import insert_block
from deploy.embedded.clickhouse.kafka.sink import KafkaSink
from deploy.embedded.clickhouse.native.server import NativeServer
from deploy.embedded.clickhouse.session import Session
from deploy.embedded.clickhouse.sql.policy import Policy, Role
from producers.kafka.flow_control import FlowControl
from producers.kafka.publisher import KafkaPublisher

_GRACE_S = 5.0
_LARGEST_MESSAGE = 4_000_000
_SMALL_REPETITIONS = 20


@dataclass(frozen=True, slots=True)
class NodeStages:
    """The laps of each stage over `rows` trades, and the Bronze messages of the first repetition."""

    read: list[Lap]
    cascade: list[Lap]
    small_cascade: list[Lap]
    bronze_messages: list[bytes]


def node_stages(rows: int, repetitions: int, small_rows: int) -> NodeStages:
    """Pass trades through the node's stages, one stage after the other. Small blocks have `small_rows` rows."""
    stages = NodeStages([], [], [], [])
    settings = Settings()
    topics = [settings.raw_topic(source.exchange) for source in SOURCES]
    with broker() as (servers, broker_process), _node(settings) as (engine, endpoint, stand_ins):
        with KafkaPublisher(settings.model_copy(update={"kafka_bootstrap_servers": servers})) as publisher:
            publisher.publish(trades(rows, 1))
        source = stand_ins[settings.clickhouse_database, "trades_raw_queue"]
        session = engine.session()
        sink = _sink(session, stand_ins[settings.clickhouse_database, "bronze_trades_sink"], servers)
        endpoint.start(lambda _, container: sink.publish(container))
        for _ in range(repetitions):
            blocks: list[Block] = []
            read = partial(_read, blocks, source, servers, topics, rows)
            stages.read.append(lap(rows, read, [broker_process]))
            stages.cascade.append(lap(rows, partial(_insert, session, source, blocks), [broker_process]))
            if not stages.bronze_messages:
                sent = read_all(servers, [settings.bronze_topic], int(str(sink.status()["messages"])))
                stages.bronze_messages.extend(message.value() for message in sent)
        small: list[Block] = []
        _read(small, source, servers, topics, small_rows)
        for _ in range(_SMALL_REPETITIONS):
            stages.small_cascade.append(lap(small_rows, partial(_insert, session, source, small)))
        sink.stop()
        session.close()
    return stages


def _read(blocks: list[Block], source: StandIn, servers: str, topics: Sequence[str], rows: int) -> None:
    """Consume messages and make blocks of the embedded node's largest size."""
    messages = read_all(servers, topics, rows)
    column = source.table.column_names[0]
    most = source.table.number("kafka_max_block_size", rows)
    blocks += (block(column, messages[start : start + most]) for start in range(0, rows, most))


def _insert(session: EngineSession, source: StandIn, blocks: Sequence[Block]) -> None:
    for one in blocks:
        # Each insert has a new token: with the same one, the node would take the second repetition for a retry.
        insert_block(session, source.name, replace(one, token=uuid4().hex))


def _sink(session: EngineSession, stand_in: StandIn, servers: str) -> KafkaSink:
    config = producer_config(stand_in.table.settings, servers)
    client = {"bootstrap.servers": servers}
    columns = dict(session.columns(f"SELECT * FROM {'.'.join(stand_in.name)}"))
    return KafkaSink(stand_in, config, columns, lambda serve: FlowControl(client, "", 0, serve=serve), _LARGEST_MESSAGE)


@contextmanager
def _node(settings: Settings) -> Iterator[tuple[Engine, Endpoint, Mapping[Name, StandIn]]]:
    """The node's engine in this process, with the migrations applied. Its Kafka tables do not run."""
    with tempfile.TemporaryDirectory(prefix="medallion-bench-") as folder:
        path = Path(folder)
        endpoint = Endpoint()
        config = configuration.write(path / "node-config.xml", Limits(), sinks=endpoint.address)
        engine = Engine.open(path / "engine", config=config)
        tables = KafkaTables(engine, endpoint, brokers="not.started:1")
        policy = Policy(has_kafka=True)

        def open_session(database: str, role: Role) -> Session:
            return Session(engine, [tables], database, role, policy)

        server = NativeServer(engine, Access("bench"), open_session, "127.0.0.1", 0)
        server.start()
        client = Client("127.0.0.1", port=server.port, password="bench")
        apply(client, settings)
        client.disconnect()
        session = engine.session()
        stand_ins = {one.name: one for one in read_catalog(session).stand_ins.values()}
        session.close()
        try:
            yield engine, endpoint, stand_ins
        finally:
            server.stop(_GRACE_S)
            tables.stop()
            engine.close()
