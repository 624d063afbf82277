"""The chain topic → source → views → sink → topic loses and doubles nothing, whatever is killed or refused in it."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest

from deploy.embedded.broker import InMemoryBroker
from deploy.embedded.clickhouse.errors import EngineError
from tests.kafka_engine.kafka import commit, committed, publish, read
from tests.kafka_engine.node import Node, wait_until

LARGEST = 50_000  # bytes of a message of a sink, on the shared node


class Chain:
    """Raw topic → m.q → m.t → m.s → out topic, under names of its own."""

    def __init__(self, raw_brokers: str = "none:1", out_brokers: str = "none:1") -> None:
        self.raw, self.out, self.group = (f"{what}-{uuid4().hex[:8]}" for what in ("raw", "out", "group"))
        self._raw_brokers, self._out_brokers = raw_brokers, out_brokers

    def tables(self, throwing: bool = False) -> list[str]:
        check = ", throwIf(raw_data = 'poison') AS checked" if throwing else ", 0 AS checked"
        return [
            "CREATE DATABASE m ENGINE = Atomic",
            f"CREATE TABLE m.q (raw_data String) ENGINE = Kafka SETTINGS kafka_broker_list = '{self._raw_brokers}', "
            f"kafka_topic_list = '{self.raw}', kafka_group_name = '{self.group}', kafka_format = 'RawBLOB', "
            "kafka_flush_interval_ms = 20",
            "CREATE TABLE m.t (r String, p UInt64, o UInt64, day UInt32, checked UInt8) "
            "ENGINE = MergeTree ORDER BY o PARTITION BY day",
            "CREATE TABLE m.s (r String, _key String) ENGINE = Kafka SETTINGS "
            f"kafka_broker_list = '{self._out_brokers}', kafka_topic_list = '{self.out}', "
            "kafka_group_name = 'sink', kafka_format = 'Avro', "
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


@pytest.fixture(scope="module")
def started(brokers: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with Node(tmp_path_factory.mktemp("shared"), brokers=brokers, max_message_bytes=LARGEST) as node:
        yield node


@pytest.fixture
def shared(started: Node) -> Iterator[Node]:
    """A node for the tests that neither end it nor start it otherwise; their tables go."""
    yield started
    for (name,) in started.rows(
        "SELECT name FROM system.tables WHERE database = 'm' ORDER BY engine LIKE '%View' DESC"
    ):
        started.query(f"DROP TABLE m.{name} SYNC")
    started.query("DROP DATABASE m SYNC")
    assert started.status() == {}


def test_every_message_arrives_once_and_offsets_follow(brokers: str, shared: Node) -> None:
    chain = Chain()
    chain.create(shared)
    chain.publish(brokers, 0, 1000)
    assert chain.delivered(brokers, 1000) == Counter(str(n) for n in range(1000))
    # A block of 150 partitions went in: max_partitions_per_insert_block is lifted.
    assert shared.rows("SELECT uniqExact(day) FROM m.t") == [[150]]
    wait_until(lambda: committed(brokers, chain.group, chain.raw) == {0: 1000})
    status = shared.status()
    assert status["m.q"]["partitions"][f"{chain.raw}/0"]["position"] == 1000
    assert (status["m.q"]["rows"], status["m.s"]["rows"], status["m.q"]["last_error"]) == (1000, 1000, "")


def test_nothing_is_lost_when_the_node_is_killed_while_rows_flow(brokers: str, tmp_path: Path) -> None:
    chain = Chain()
    node = Node(tmp_path, brokers=brokers)
    chain.create(node)
    chain.publish(brokers, 0, 2000)
    node.wait_for("SELECT count() > 0 FROM m.t", [[1]])
    node.kill()
    with Node(tmp_path, brokers=brokers) as node:
        rows = chain.delivered(brokers, 2000)
        assert set(rows) == {str(n) for n in range(2000)}
        wait_until(lambda: committed(brokers, chain.group, chain.raw) == {0: 2000})
        assert node.rows("SELECT count(), uniqExact(p, o) FROM m.t") == [[2000, 2000]]
    # Stopped in order, another node goes on where this one committed.
    with Node(tmp_path, brokers=brokers):
        chain.publish(brokers, 2000, 2100)
        assert chain.delivered(brokers, 2100) == rows + Counter(str(n) for n in range(2000, 2100))


def test_offsets_are_not_committed_before_the_sink_is_delivered(brokers: str, tmp_path: Path) -> None:
    chain = Chain()
    reader = f"reader-{uuid4().hex}"
    with Node(tmp_path, brokers=brokers, flow_control_group=reader, max_unconsumed_bytes=1) as node:
        chain.create(node)
        chain.publish(brokers, 0, 1)
        wait_until(lambda: committed(brokers, chain.group, chain.raw) == {0: 1})
        # The sink may not go on: its first message is not consumed yet.
        chain.publish(brokers, 1, 11)
        wait_until(lambda: node.status()["m.s"]["inserts_waiting"] == 1)
        assert committed(brokers, chain.group, chain.raw) == {0: 1}
        assert len(read(brokers, chain.out, 1)) == 1
        partition = read(brokers, chain.out, 1)[0].partition()
        for offset in range(1, 11):  # the ten rows may have come in several blocks
            commit(brokers, reader, chain.out, {partition: offset})
            if committed(brokers, chain.group, chain.raw) == {0: 11}:
                break
        wait_until(lambda: committed(brokers, chain.group, chain.raw) == {0: 11})
        assert chain.delivered(brokers, 11) == Counter(str(n) for n in range(11))


def test_nothing_is_consumed_before_a_view_reads_the_table(brokers: str, shared: Node) -> None:
    chain = Chain()
    chain.publish(brokers, 0, 10)
    *tables, view = chain.tables()
    for sql in tables:
        shared.query(sql)
    chain.publish(brokers, 10, 20)
    shared.query(view)
    assert chain.delivered(brokers, 20) == Counter(str(n) for n in range(20))
    # While the view is replaced, as the migrations do, messages wait.
    shared.query("DROP VIEW m.v")
    chain.publish(brokers, 20, 30)
    wait_until(lambda: "no materialized view" in shared.status()["m.q"]["last_error"])
    shared.query(view)
    assert chain.delivered(brokers, 30) == Counter(str(n) for n in range(30))


def test_a_refused_block_is_tried_again_and_shown(brokers: str, shared: Node) -> None:
    chain = Chain()
    chain.create(shared, throwing=True)
    publish(brokers, [{"topic": chain.raw, "partition": 0, "value": b"poison"}])
    wait_until(lambda: "throwIf" in shared.status()["m.q"]["last_error"])
    assert committed(brokers, chain.group, chain.raw) == {}
    shared.query("DROP VIEW m.v")
    shared.query(chain.tables(throwing=False)[-1])
    assert chain.delivered(brokers, 1) == Counter({"poison": 1})


def test_messages_that_the_broker_dropped_are_counted(brokers: str, shared: Node) -> None:
    chain = Chain()
    publish(brokers, ({"topic": chain.raw, "partition": 0, "value": b"x" * 1000} for _ in range(8000)))
    commit(brokers, chain.group, chain.raw, {0: 100})
    chain.create(shared)
    key = f"{chain.raw}/0"
    wait_until(lambda: shared.status()["m.q"]["partitions"].get(key, {}).get("committed") == 8000)
    counts = shared.status()["m.q"]["partitions"][key]
    assert counts["missing"] > 0
    assert counts["missing"] + counts["messages"] == 7900


def test_rows_wait_for_a_broker_that_is_away_and_are_in_raw_once(brokers: str, tmp_path: Path) -> None:
    """Nobody listens where the sink writes; a statement meanwhile, SIGKILL, and other blocks than before."""
    chain = Chain(raw_brokers=brokers, out_brokers="127.0.0.1:1")
    raw_once = "SELECT count(), uniqExact(o) FROM m.t"
    with Node(tmp_path) as node:
        chain.create(node)
        chain.publish(brokers, 0, 100)
        node.wait_for(raw_once, [[100, 100]])
        assert node.status()["m.s"]["inserts_waiting"] == 1
        # The block is refused so that the view can be made, and inserted again: it waits once more.
        node.query("CREATE TABLE m.other (r String) ENGINE = MergeTree ORDER BY r")
        node.query(
            "CREATE TABLE m.q2 (raw_data String) ENGINE = Kafka SETTINGS kafka_broker_list = 'none:1', "
            "kafka_topic_list = 'none', kafka_group_name = 'none', kafka_format = 'RawBLOB'"
        )
        wait_until(lambda: node.status()["m.q"]["errors"] >= 1 and node.status()["m.s"]["inserts_waiting"] == 1)
        assert node.rows(raw_once) == [[100, 100]]
        assert committed(brokers, chain.group, chain.raw) == {}
        node.kill()
    chain.publish(brokers, 100, 150)
    with Node(tmp_path, brokers=brokers) as node:
        assert chain.delivered(brokers, 150) == Counter(str(n) for n in range(150))
        wait_until(lambda: committed(brokers, chain.group, chain.raw) == {0: 150})
        assert node.rows(raw_once) == [[150, 150]]


def test_a_topic_that_was_lost_is_not_taken_for_the_one_before(tmp_path: Path) -> None:
    """Offsets that a new broker gives again belong to other messages, though a block of them was under way."""
    broker = InMemoryBroker()
    chain = Chain(raw_brokers=broker.bootstrap_servers, out_brokers="127.0.0.1:1")
    with Node(tmp_path) as node:
        chain.create(node)
        chain.publish(broker.bootstrap_servers, 0, 100)
        node.wait_for("SELECT count() FROM m.t", [[100]])
        node.kill()
    broker.close()
    broker = InMemoryBroker()
    chain.publish(broker.bootstrap_servers, 1000, 1200)
    with Node(tmp_path, brokers=broker.bootstrap_servers) as node:
        assert chain.delivered(broker.bootstrap_servers, 200) == Counter(str(n) for n in range(1000, 1200))
        node.wait_for("SELECT count(), uniqExact(r) FROM m.t", [[300, 300]])
    broker.close()


# Of the fast tier: its siblings with one sink.
@pytest.mark.nightly
def test_two_sinks_get_every_row_though_one_of_them_fails_first(brokers: str, tmp_path: Path) -> None:
    chain, second = Chain(raw_brokers=brokers, out_brokers=brokers), Chain(out_brokers="127.0.0.1:1")
    other_sink = second.tables()[3].replace("m.s ", "m.s_second ")
    other_view = second.tables()[4].replace("m.sv", "m.sv_second").replace("m.s ", "m.s_second ")
    with Node(tmp_path) as node:
        *tables, view = chain.tables()
        for sql in (*tables, other_sink, other_view, view):
            node.query(sql)
        chain.publish(brokers, 0, 100)
        wait_until(lambda: node.status()["m.s_second"]["inserts_waiting"] == 1)
        node.kill()
    with Node(tmp_path, brokers=brokers) as node:
        for each in (chain, second):
            assert set(each.delivered(brokers, 100)) == {str(n) for n in range(100)}
        wait_until(lambda: committed(brokers, chain.group, chain.raw) == {0: 100})
        assert node.rows("SELECT count() FROM m.t") == [[100]]
        assert set(node.status()) == {"m.q", "m.s", "m.s_second"}


def test_rows_of_an_earlier_outbox_are_published_and_the_table_goes(brokers: str, tmp_path: Path) -> None:
    chain = Chain(raw_brokers=brokers, out_brokers=brokers)
    _, source, target, sink, sink_view, view = chain.tables()
    comment = sink.replace("'", "\\'")
    with Node(tmp_path, brokers=brokers) as node:
        node.query("CREATE DATABASE m ENGINE = Atomic")
        node.query(
            "CREATE TABLE m.s (r String, _key String) ENGINE = MergeTree ORDER BY tuple() SETTINGS "
            f"max_bytes_to_merge_at_max_space_in_pool = 1 COMMENT '{comment}'"
        )
        node.query("INSERT INTO m.s SELECT concat('a', toString(number)), 'a' FROM numbers(150)")
        node.query("INSERT INTO m.s SELECT concat('b', toString(number)), 'b' FROM numbers(50)")
        for sql in (source, target, sink_view, view):
            node.query(sql)
        node.kill()
    chain.publish(brokers, 0, 20)
    kept = {f"a{n}" for n in range(150)} | {f"b{n}" for n in range(50)}
    with Node(tmp_path, brokers=brokers) as node:
        assert chain.delivered(brokers, 220) == Counter(kept | {str(n) for n in range(20)})
        assert {message.key() for message in read(brokers, chain.out, 4)} == {b"a", b"b", b"k"}
        node.wait_for(
            "SELECT name, engine FROM system.tables WHERE database = 'm' AND startsWith(name, 's') ORDER BY 1",
            [["s", "URL"], ["sv", "MaterializedView"]],
        )


def test_large_sink_messages_are_split(brokers: str, shared: Node) -> None:
    chain = Chain()
    chain.create(shared)
    shared.query("INSERT INTO m.s SELECT concat(toString(number), randomPrintableASCII(2000)), 'k' FROM numbers(100)")
    rows = chain.delivered(brokers, 100)
    assert len(rows) == rows.total() == 100
    sizes = [len(message.value()) for message in read(brokers, chain.out, 4)]
    assert len(sizes) >= 4
    assert max(sizes) <= LARGEST


def test_renamed_dropped_and_refused_tables(brokers: str, shared: Node) -> None:
    chain = Chain()
    chain.create(shared)
    original = chain.tables()[1]
    assert shared.rows("SELECT comment FROM system.tables WHERE database = 'm' AND name = 'q'") == [[original]]
    assert shared.rows("SELECT name FROM system.columns WHERE table = 'q' AND default_kind = ''") == [["raw_data"]]
    shared.query("RENAME TABLE m.s TO m.renamed")
    shared.query("INSERT INTO m.renamed VALUES ('a', 'k')")
    assert chain.delivered(brokers, 1) == Counter({"a": 1})
    for sql in ("SELECT * FROM m.renamed", "CREATE TABLE m.copy AS m.renamed", "SELECT * FROM url(kafka_sinks)"):
        with pytest.raises(EngineError, match=r"cannot be read|Not enough privileges"):
            shared.query(sql)
    with pytest.raises(EngineError, match="NOT_IMPLEMENTED"):
        shared.query(original.replace("RawBLOB", "CSV").replace("m.q", "m.refused"))
    with pytest.raises(EngineError, match="already exists"):
        shared.query(original)
    shared.query("DROP TABLE m.q")
    shared.query("INSERT INTO m.renamed VALUES ('b', 'k')")
    shared.query("DROP TABLE m.renamed SYNC")
    assert shared.status() == {}
    assert chain.delivered(brokers, 2) == Counter({"a": 1, "b": 1})
