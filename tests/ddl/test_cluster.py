"""The same DDL for a cluster: every object on every node, replicated where it holds rows, and readers over all shards.

The engine in-process has no Keeper, so nothing is created here: the real parser reads every statement.
"""

from __future__ import annotations

import re

import pytest
from chdb.session import Session

from config.settings import Settings
from ddl.readers import apply_readers, readers_database, render_readers
from ddl.render import render, render_journal
from ddl.statements import MigrationStatement, ObjectKind

CLUSTER = Settings(clickhouse_cluster="medallion", bronze_shards=4)
ALONE = Settings(bronze_shards=4)
ENGINE = re.compile(r"^ENGINE = (\w+)", re.MULTILINE)


def everything() -> list[MigrationStatement]:
    return [*render_journal(CLUSTER), *render(CLUSTER), *render_readers(CLUSTER)]


def test_a_cluster_changes_engines_windows_and_on_cluster_only() -> None:
    """Line by line the same DDL: one source for both. Only one node can copy its own rows (0026, 0027)."""
    copying = re.compile(r"0026_kafka_time/|0027_gold_in_one_table/\d+$")
    alone = [one for one in [*render_journal(ALONE), *render(ALONE)] if not copying.match(one.key)]
    clustered = [one for one in [*render_journal(CLUSTER), *render(CLUSTER)] if not copying.match(one.key)]
    assert [statement.key for statement in alone] == [statement.key for statement in clustered]
    changed = re.compile(
        r"(?:non_replicated_deduplication_window = \d+"
        r"|replicated_deduplication_window = \d+, replicated_deduplication_window_seconds = \d+)"
    )
    for one, other in zip(alone, clustered, strict=True):
        sql = other.sql.replace(" ON CLUSTER medallion", "").replace("ENGINE = Replicated", "ENGINE = ")
        assert changed.sub("window", sql) == changed.sub("window", one.sql), other.key


def test_every_object_is_made_on_every_node() -> None:
    for statement in everything():
        if statement.kind is not ObjectKind.DATA:
            assert " ON CLUSTER medallion" in statement.sql, statement.key


def test_every_table_that_holds_rows_is_replicated() -> None:
    engines = {
        statement.object: found[1]
        for statement in [*render_journal(CLUSTER), *render(CLUSTER)]
        if statement.kind is ObjectKind.TABLE and (found := ENGINE.search(statement.sql))
    }
    assert len(engines) > 10
    # Each server makes its own copy of the newest prices, from replicated states.
    assert {name for name, engine in engines.items() if not engine.startswith("Replicated")} == {"latest_prices_copy"}
    assert {engines[name] for name in ("silver_trades", "trades_raw")} == {"ReplicatedMergeTree"}


def test_tables_that_take_tokens_remember_them_on_every_replica() -> None:
    for statement in render(CLUSTER):
        if "deduplication_window" in statement.sql:
            assert "replicated_deduplication_window = 100000" in statement.sql
            assert "non_replicated" not in statement.sql, statement.key


def test_readers_are_all_that_a_service_or_an_analyst_asks_for() -> None:
    local = {
        statement.object
        for statement in render(CLUSTER)
        if statement.kind in {ObjectKind.TABLE, ObjectKind.VIEW}
        and not statement.object.endswith(("_leaving", "_staged"))
    }
    readers = {statement.object: statement for statement in render_readers(CLUSTER)}
    assert local <= set(readers)
    assert set(readers) - local == {"bronze_trades_sink", "silver_trades_staged", readers_database(CLUSTER)}
    for market in ("silver_trades", "silver_trades_staged"):
        assert "cityHash64(exchange, symbol)" in readers[market].sql, "a day is prepared where Silver has it"
    assert "length(publication)" in readers["rederivations"].sql, "or the log has no order"
    assert "cityHash64(table_name, slice)" in readers["offload_watermarks"].sql, "or a slice has several watermarks"
    assert render_readers(ALONE) == []


def test_readers_read_readers() -> None:
    """A view of the second database must not ask one shard."""
    for statement in render_readers(CLUSTER):
        if statement.kind is ObjectKind.VIEW:
            assert not re.search(r"\bmedallion\.", statement.sql), statement.object


def test_readers_hold_no_rows_and_can_be_made_again() -> None:
    done: list[str] = []

    class Recorder:
        def execute(self, query: str, params: object = None) -> list[tuple[object, ...]]:
            done.append(query)
            return []

    assert len(apply_readers(Recorder(), CLUSTER)) == len(done) > 15
    assert all(re.match(r"CREATE (OR REPLACE|DATABASE IF NOT EXISTS)", sql) for sql in done)


@pytest.fixture(scope="module")
def session() -> Session:
    return Session()


def test_the_real_parser_reads_every_statement(session: Session) -> None:
    for statement in everything():
        literal = statement.sql.replace("\\", "\\\\").replace("'", "\\'")
        formatted = session.query(f"SELECT formatQuerySingleLine('{literal}')", "TSVRaw").bytes().decode()
        assert "ON CLUSTER medallion" in formatted or statement.kind is ObjectKind.DATA, statement.key
