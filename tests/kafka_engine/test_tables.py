"""The chain topic → source → views → outbox → topic loses nothing, whatever is killed or refused on the way."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest

from deploy.embedded.broker import InMemoryBroker
from deploy.embedded.clickhouse.errors import EngineError
from tests.kafka_engine.kafka import commit, committed, publish, read
from tests.kafka_engine.node import Node, wait_until


class Chain:
    """Raw topic → m.q → m.t → m.s → out topic, under names of its own."""

    def __init__(self) -> None:
        self.raw, self.out, self.group = (f"{what}-{uuid4().hex[:8]}" for what in ("raw", "out", "group"))

    def tables(self, throwing: bool = False) -> list[str]:
        check = ", throwIf(raw_data = 'poison') AS checked" if throwing else ", 0 AS checked"
        return [
            "CREATE DATABASE m ENGINE = Atomic",
            "CREATE TABLE m.q (raw_data String) ENGINE = Kafka SETTINGS kafka_broker_list = 'none:1', "
            f"kafka_topic_list = '{self.raw}', kafka_group_name = '{self.group}', kafka_format = 'RawBLOB', "
            "kafka_flush_interval_ms = 20",
            "CREATE TABLE m.t (r String, p UInt64, o UInt64, day UInt32, checked UInt8) "
            "ENGINE = MergeTree ORDER BY o PARTITION BY day",
            "CREATE TABLE m.s (r String, _key String) ENGINE = Kafka SETTINGS kafka_broker_list = 'none:1', "
            f"kafka_topic_list = '{self.out}', kafka_group_name = 'sink', kafka_format = 'Avro', "
            "kafka_max_rows_per_message = 100, output_format_avro_codec = 'snappy'",
            "CREATE MATERIALIZED VIEW m.sv TO m.s AS SELECT r, 'k' AS _key FROM m.t",
            "CREATE MATERIALIZED VIEW m.v TO m.t AS SELECT raw_data AS r, _partition AS p, _offset AS o, "
            f"cityHash64(raw_data) % 150 AS day{check} FROM m.q",
        ]

    def create(self, node: Node, throwing: bool = False) -> None:
        for sql in self.tables(throwing):
            node.query(sql)

    def publish(self, brokers: str, first: int, last: int, partition: int = 0) -> None:
        publish(
            brokers, ({"topic": self.raw, "partition": partition, "value": str(n).encode()} for n in range(first, last))
        )

    def delivered(self, brokers: str, at_least: int) -> Counter[str]:
        """Rows in the out topic, once there are so many distinct ones."""
        rows: Counter[str] = Counter()

        def enough() -> bool:
            rows.clear()
            for message in read(brokers, self.out, 1, seconds=1):
                rows.update(pl.read_avro(io.BytesIO(message.value()))["r"].to_list())
            return len(rows) >= at_least

        wait_until(enough, 40)
        return rows


def test_every_message_arrives_once_and_offsets_follow(brokers: str, tmp_path: Path) -> None:
    chain = Chain()
    with Node(tmp_path, brokers=brokers) as node:
        chain.create(node)
        chain.publish(brokers, 0, 1000)
        assert chain.delivered(brokers, 1000) == Counter(str(n) for n in range(1000))
        # A block of 150 partitions went in: max_partitions_per_insert_block is lifted.
        assert node.rows("SELECT uniqExact(day) FROM m.t") == [[150]]
        wait_until(lambda: committed(brokers, chain.group, chain.raw) == {0: 1000})
        status = node.status()
        assert status["m.q"]["partitions"][f"{chain.raw}/0"]["position"] == 1000
        assert (status["m.q"]["rows"], status["m.s"]["rows"], status["m.q"]["last_error"]) == (1000, 1000, "")
        node.wait_for("SELECT count() FROM m.s", [[0]])
    # Stopped in order, another node goes on where this one committed.
    with Node(tmp_path, brokers=brokers):
        chain.publish(brokers, 1000, 1100)
        assert chain.delivered(brokers, 1100) == Counter(str(n) for n in range(1100))


def test_nothing_is_lost_when_the_node_is_killed_while_rows_flow(brokers: str, tmp_path: Path) -> None:
    chain = Chain()
    node = Node(tmp_path, brokers=brokers)
    chain.create(node)
    sent = 0
    for _ in range(3):
        chain.publish(brokers, sent, sent + 2000)
        sent += 2000
        node.wait_for("SELECT count() > 0 FROM m.t", [[1]])
        node.kill()
        node = Node(tmp_path, brokers=brokers)
    with node:
        rows = chain.delivered(brokers, sent)
        assert set(rows) == {str(n) for n in range(sent)}
        wait_until(lambda: committed(brokers, chain.group, chain.raw) == {0: sent})


def test_offsets_are_not_committed_before_the_sink_is_delivered(brokers: str, tmp_path: Path) -> None:
    chain = Chain()
    reader = f"reader-{uuid4().hex}"
    with Node(tmp_path, brokers=brokers, pace_group=reader, max_unconsumed_bytes=1) as node:
        chain.create(node)
        chain.publish(brokers, 0, 1)
        wait_until(lambda: committed(brokers, chain.group, chain.raw) == {0: 1})
        # The sink may not go on: its first message is not consumed yet.
        chain.publish(brokers, 1, 11)
        node.wait_for("SELECT count() FROM m.t", [[11]])
        node.wait_for("SELECT count() FROM m.s", [[10]])
        assert committed(brokers, chain.group, chain.raw) == {0: 1}
        assert len(read(brokers, chain.out, 1)) == 1
        partition = read(brokers, chain.out, 1)[0].partition()
        for offset in range(1, 11):  # the ten rows may have come in several blocks
            commit(brokers, reader, chain.out, {partition: offset})
            if committed(brokers, chain.group, chain.raw) == {0: 11}:
                break
        wait_until(lambda: committed(brokers, chain.group, chain.raw) == {0: 11})
        assert chain.delivered(brokers, 11) == Counter(str(n) for n in range(11))


def test_nothing_is_consumed_before_a_view_reads_the_table(brokers: str, tmp_path: Path) -> None:
    chain = Chain()
    chain.publish(brokers, 0, 10)
    *tables, view = chain.tables()
    with Node(tmp_path, brokers=brokers) as node:
        for sql in tables:
            node.query(sql)
        chain.publish(brokers, 10, 20)
        node.query(view)
        assert chain.delivered(brokers, 20) == Counter(str(n) for n in range(20))
        # While the view is replaced, as the migrations do, messages wait.
        node.query("DROP VIEW m.v")
        chain.publish(brokers, 20, 30)
        wait_until(lambda: "no materialized view" in node.status()["m.q"]["last_error"])
        node.query(view)
        assert chain.delivered(brokers, 30) == Counter(str(n) for n in range(30))


def test_a_refused_block_is_tried_again_and_shown(brokers: str, tmp_path: Path) -> None:
    chain = Chain()
    with Node(tmp_path, brokers=brokers) as node:
        chain.create(node, throwing=True)
        publish(brokers, [{"topic": chain.raw, "partition": 0, "value": b"poison"}])
        wait_until(lambda: "throwIf" in node.status()["m.q"]["last_error"])
        assert committed(brokers, chain.group, chain.raw) == {}
        node.query("DROP VIEW m.v")
        node.query(chain.tables(throwing=False)[-1])
        assert chain.delivered(brokers, 1) == Counter({"poison": 1})


def test_messages_that_the_broker_dropped_are_counted(brokers: str, tmp_path: Path) -> None:
    chain = Chain()
    publish(brokers, ({"topic": chain.raw, "partition": 0, "value": b"x" * 1000} for _ in range(8000)))
    commit(brokers, chain.group, chain.raw, {0: 100})
    with Node(tmp_path, brokers=brokers) as node:
        chain.create(node)
        key = f"{chain.raw}/0"
        wait_until(lambda: node.status()["m.q"]["partitions"].get(key, {}).get("committed") == 8000)
        counts = node.status()["m.q"]["partitions"][key]
        assert counts["missing"] > 0
        assert counts["missing"] + counts["messages"] == 7900


def test_what_a_broker_never_acknowledged_waits_in_the_outbox(tmp_path: Path) -> None:
    chain = Chain()
    broker = InMemoryBroker()
    with Node(tmp_path, brokers=broker.bootstrap_servers) as node:
        chain.create(node)
        node.query("INSERT INTO m.s SELECT toString(number), 'k' FROM numbers(5)")
        node.wait_for("SELECT count() FROM m.s", [[0]])
        broker.close()
        node.query("INSERT INTO m.s SELECT toString(number), 'k' FROM numbers(5, 250)")
        wait_until(lambda: node.status()["m.s"]["last_error"] != "")
        node.kill()
    with_new = InMemoryBroker()
    with Node(tmp_path, brokers=with_new.bootstrap_servers) as node:
        assert chain.delivered(with_new.bootstrap_servers, 250) == Counter(str(n) for n in range(5, 255))
        node.wait_for("SELECT count() FROM m.s", [[0]])
    with_new.close()


def test_large_sink_messages_are_split(brokers: str, tmp_path: Path) -> None:
    chain = Chain()
    with Node(tmp_path, brokers=brokers, max_message_bytes=50_000) as node:
        chain.create(node)
        node.query("INSERT INTO m.s SELECT concat(toString(number), randomPrintableASCII(2000)), 'k' FROM numbers(100)")
        rows = chain.delivered(brokers, 100)
        assert len(rows) == rows.total() == 100
        sizes = [len(message.value()) for message in read(brokers, chain.out, 4)]
        assert len(sizes) >= 4
        assert max(sizes) <= 50_000


def test_renamed_dropped_and_refused_tables(brokers: str, tmp_path: Path) -> None:
    chain = Chain()
    with Node(tmp_path, brokers=brokers) as node:
        chain.create(node)
        original = chain.tables()[1]
        assert node.rows("SELECT comment FROM system.tables WHERE database = 'm' AND name = 'q'") == [[original]]
        assert node.rows("SELECT name FROM system.columns WHERE table = 'q' AND default_kind = ''") == [["raw_data"]]
        node.query("RENAME TABLE m.s TO m.renamed")
        node.query("INSERT INTO m.renamed VALUES ('a', 'k')")
        assert chain.delivered(brokers, 1) == Counter({"a": 1})
        with pytest.raises(EngineError, match="NOT_IMPLEMENTED"):
            node.query(original.replace("RawBLOB", "CSV").replace("m.q", "m.refused"))
        with pytest.raises(EngineError, match="already exists"):
            node.query(original)
        node.query("DROP TABLE m.q")
        node.query("INSERT INTO m.renamed VALUES ('b', 'k')")
        node.query("DROP TABLE m.renamed SYNC")
        assert node.status() == {}
        assert chain.delivered(brokers, 2) == Counter({"a": 1, "b": 1})
