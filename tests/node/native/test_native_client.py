"""clickhouse-driver, unmodified, against the node: what goes in comes out, errors keep their codes."""

from __future__ import annotations

import socket
import threading
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from clickhouse_driver.errors import ServerException

from tests.node.conftest import NodeProcess, eventually
from tests.node.hostile import hello, query

ROW = (
    2**64 - 1,
    "é" * 200,
    "BUY",
    "lc",
    [1, None, -3],
    {"k": 3},
    datetime(2024, 1, 1, 12, 0, 0, 123456, tzinfo=UTC),
    Decimal("0.000000000000000001"),
    UUID("6f1d1f3a-1f2b-4f7e-9d0f-2f9b3c1d5e7a"),
    ("z", ["p", "q"]),
    None,
    datetime(2024, 1, 1, 12, tzinfo=UTC),
)
COLUMNS = """a UInt64, b String, e Enum8('BUY' = 1, 'SELL' = 2), lc LowCardinality(Nullable(String)),
    ar Array(Nullable(Int32)), m Map(String, UInt8), dt DateTime64(6, 'UTC'), d Decimal(38, 18), u UUID,
    tp Tuple(a String, b Array(LowCardinality(String))), n Nullable(Float64), t DateTime('UTC')"""


@pytest.mark.parametrize("compression", [False, "lz4"])
def test_rows_of_every_kind_of_type_come_back_equal(node: NodeProcess, database: str, compression: str) -> None:
    client = node.native(database=database, compression=compression)
    client.execute(f"CREATE TABLE t ({COLUMNS}) ENGINE = MergeTree ORDER BY a")
    rows = [ROW, (0, "", "SELL", None, [], {}, *ROW[6:9], ("", []), 1.5, ROW[11])]
    assert client.execute("INSERT INTO t VALUES", rows * 500) == 1000
    assert client.execute("SELECT * FROM t ORDER BY a DESC LIMIT 1") == [ROW]
    assert client.execute("SELECT * FROM t ORDER BY a LIMIT 1") == [rows[1]]
    assert client.execute("SELECT count() FROM t") == [(1000,)]


def test_an_insert_of_many_blocks_arrives_whole(node: NodeProcess, database: str) -> None:
    client = node.native(database=database)
    client.execute("CREATE TABLE t (a UInt32, b String) ENGINE = MergeTree ORDER BY a")
    columns = [list(range(50_000)), [str(n) * (n % 40) for n in range(50_000)]]
    options = {"insert_block_size": 999}
    client.execute("INSERT INTO t (a, b) VALUES", columns, columnar=True, settings=options, types_check=True)
    expected = (50_000, sum(columns[0]), sum(map(len, columns[1])))
    assert client.execute("SELECT count(), sum(a), sum(length(b)) FROM t") == [expected]


def test_an_empty_result_still_names_its_columns(node: NodeProcess) -> None:
    client = node.native()
    sql = "SELECT 1 AS x, now('UTC') AS t WHERE 0"
    assert client.execute(sql, with_column_types=True) == ([], [("x", "UInt8"), ("t", "DateTime('UTC')")])
    assert client.execute("SHOW TABLES LIKE 'none'", with_column_types=True) == ([], [("name", "String")])


def test_columns_and_time_zones_are_announced(node: NodeProcess) -> None:
    sql = "SELECT toDateTime('2024-01-01 00:00:00', 'Asia/Tokyo') AS t, number AS n FROM numbers(70000)"
    rows, columns = node.native().execute(sql, with_column_types=True)
    assert columns == [("t", "DateTime('Asia/Tokyo')"), ("n", "UInt64")]
    assert {row[0].isoformat() for row in rows} == {"2024-01-01T00:00:00+09:00"}


def test_the_server_runs_in_utc_whatever_the_environment_says(node: NodeProcess) -> None:
    assert node.native().execute("SELECT timezone(), toString(toDateTime(0))") == [("UTC", "1970-01-01 00:00:00")]


def test_numpy_dataframe_and_iteration(node: NodeProcess) -> None:
    client = node.native(settings={"use_numpy": True})
    (numbers,) = client.execute("SELECT number FROM numbers(200000)", columnar=True)
    assert numbers.sum() == sum(range(200_000))
    assert client.query_dataframe("SELECT number AS n, toString(number) AS s FROM numbers(9)").shape == (9, 2)
    assert sum(1 for _ in node.native().execute_iter("SELECT number FROM numbers(200000)")) == 200_000


def test_external_tables_join_a_query_and_are_gone_after_it(node: NodeProcess) -> None:
    client = node.native()
    table = {"name": "wanted", "structure": [("x", "Int32"), ("y", "String")], "data": [{"x": 2, "y": "b"}]}
    sql = "SELECT number, y FROM numbers(5) AS n JOIN wanted AS w ON n.number = w.x"
    assert client.execute(sql, external_tables=[table]) == [(2, "b")]
    with pytest.raises(ServerException) as failure:
        client.execute("SELECT * FROM wanted")
    assert failure.value.code == 497  # as any name in chDB's own database


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("selec", 62),
        ("SELECT 1; SELECT 2", 62),
        ("SELECT * FROM none.such", 81),
        ("SELECT * FROM system.none", 60),
        ("SELECT throwIf(number = 900000) FROM numbers(1000000)", 395),
        ("SYSTEM SHUTDOWN", 392),
        ("/* x */ system -- y\n kill", 392),
        ("CREATE TABLE k (a String) ENGINE = Kafka('b', 't', 'g', 'RawBLOB')", 48),
        ("ATTACH TABLE k (a String) ENGINE Kafka SETTINGS kafka_format = 'RawBLOB'", 48),
        ("SELECT 1 SETTINGS no_such_setting = 1", 115),
    ],
)
def test_errors_keep_their_codes_and_the_connection_lives_on(node: NodeProcess, sql: str, code: int) -> None:
    client = node.native()
    with pytest.raises(ServerException) as failure:
        client.execute(sql)
    assert failure.value.code == code
    assert client.execute("SELECT 1") == [(1,)]


def test_a_failing_insert_leaves_the_connection_in_step(node: NodeProcess, database: str) -> None:
    client = node.native(database=database)
    client.execute("CREATE TABLE t (a UInt8, CONSTRAINT small CHECK a < 10) ENGINE = MergeTree ORDER BY a")
    with pytest.raises(ServerException) as failure:
        client.execute("INSERT INTO t VALUES", [(n,) for n in range(200)], settings={"insert_block_size": 10})
    assert failure.value.code == 469
    assert client.execute("SELECT count() FROM t") == [(0,)]
    with pytest.raises(ServerException) as failure:
        client.execute("INSERT INTO none VALUES", [(1,)])
    assert failure.value.code == 60
    assert client.execute("SELECT 1") == [(1,)]


def test_settings_hold_for_one_query_and_set_for_the_session(node: NodeProcess) -> None:
    client = node.native()
    sql = "SELECT getSetting('max_threads')"
    default = client.execute(sql)
    client.execute("SET max_threads = 7")
    assert client.execute(sql, settings={"max_threads": 3}) == [(3,)]
    assert client.execute(sql) == [(7,)]
    assert node.native().execute(sql) == default
    assert client.execute("SELECT 1", settings={"not_a_setting": 1}) == [(1,)]
    with pytest.raises(ServerException) as failure:
        node.native(settings_is_important=True).execute("SELECT 1", settings={"not_a_setting": 1})
    assert failure.value.code == 115


def test_use_and_temporary_tables_belong_to_a_session(node: NodeProcess, database: str) -> None:
    client, other = node.native(), node.native()
    client.execute(f"USE {database}")
    client.execute("CREATE TEMPORARY TABLE mine (a Int8)")
    client.execute("INSERT INTO mine VALUES", [(1,)])
    assert client.execute("SELECT currentDatabase(), a FROM mine") == [(database, 1)]
    assert other.execute("SELECT currentDatabase()") == [("default",)]
    with pytest.raises(ServerException):
        other.execute("SELECT * FROM mine")


def test_a_wrong_password_is_refused(node: NodeProcess) -> None:
    for options in ({"password": "wrong"}, {"password": ""}, {"user": "someone"}):
        with pytest.raises(ServerException) as failure:
            node.native(**options).execute("SELECT 1")
        assert failure.value.code == 516


def test_an_unknown_database_is_refused(node: NodeProcess) -> None:
    with pytest.raises(ServerException) as failure:
        node.native(database="no_such").execute("SELECT 1")
    assert failure.value.code == 81


def test_values_in_the_statement_are_inserted(node: NodeProcess, database: str) -> None:
    client = node.native(database=database)
    client.execute("CREATE TABLE t (a UInt8, b String) ENGINE = MergeTree ORDER BY a")
    client.execute("INSERT INTO t VALUES (1, 'x;'), (1 + 1, '(');")
    assert client.execute("SELECT * FROM t ORDER BY a") == [(1, "x;"), (2, "(")]


def test_a_repeated_token_inserts_once_also_into_dependent_views(node: NodeProcess, database: str) -> None:
    client = node.native(database=database)
    client.execute("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
    client.execute("CREATE TABLE s (n UInt64) ENGINE = MergeTree ORDER BY n")
    client.execute("CREATE MATERIALIZED VIEW v TO s AS SELECT toUInt64(a) AS n FROM t")
    settings = {"insert_deduplication_token": "one", "deduplicate_blocks_in_dependent_materialized_views": 1}
    for _ in range(3):
        client.execute("INSERT INTO t VALUES", [(1,), (2,)], settings=settings)
    client.execute("INSERT INTO t VALUES", [(1,), (2,)], settings={**settings, "insert_deduplication_token": "two"})
    assert client.execute("SELECT (SELECT count() FROM t), (SELECT count() FROM s)") == [(4, 4)]


def test_connections_run_at_the_same_time(node: NodeProcess) -> None:
    results: list[int] = []

    def work(seed: int) -> None:
        client = node.native()
        results.append(client.execute(f"SELECT sum(number) + {seed} FROM numbers(1000000)")[0][0] - seed)
        client.disconnect()

    slow = threading.Thread(target=node.native().execute, args=("SELECT sleep(2)",))
    slow.start()
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert results == [sum(range(1_000_000))] * 8
    assert slow.is_alive(), "the others waited for the slow query"
    slow.join(10)


def test_cancel_and_disconnect_kill_the_query(node: NodeProcess) -> None:
    client = node.native()
    rows = client.execute_iter("SELECT number AS to_cancel FROM system.numbers")
    next(rows)
    client.cancel()
    eventually(lambda: node.running("to_cancel") == 0, "the cancelled query ended")
    leaver = node.native()
    thread = threading.Thread(target=lambda: _ignore_failure(leaver, "SELECT count() AS to_leave FROM system.numbers"))
    thread.start()
    eventually(lambda: node.running("to_leave") == 1, "the query started")
    leaver.connection.socket.shutdown(socket.SHUT_RDWR)
    eventually(lambda: node.running("to_leave") == 0, "the abandoned query ended")
    thread.join(10)


def test_a_query_of_any_bytes_is_killed_and_so_is_the_next(node: NodeProcess) -> None:
    """The engine names what it kills: text that is no UTF-8, once."""
    for byte in ("\udcdb", ""):
        asked = query(f"SELECT count() AS to_leave_bytes, '{byte}' FROM system.numbers")
        with socket.create_connection(("127.0.0.1", node.native_port)) as connection:
            connection.sendall(hello() + asked)
            eventually(lambda: node.running("to_leave_bytes") == 1, "the query started")
        eventually(lambda: node.running("to_leave_bytes") == 0, "the abandoned query ended")


def _ignore_failure(client: object, sql: str) -> None:
    with pytest.raises((EOFError, OSError, AttributeError, ServerException)):
        client.execute(sql)  # type: ignore[attr-defined]


def test_a_client_that_dies_in_the_middle_of_an_insert_leaves_no_row(node: NodeProcess, database: str) -> None:
    client = node.native(database=database)
    client.execute("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    dying = node.native(database=database)

    def rows() -> object:
        for n in range(100_000):
            yield (n,)
        dying.connection.socket.close()
        raise InterruptedError

    with pytest.raises(InterruptedError):
        dying.execute("INSERT INTO t VALUES", rows(), settings={"insert_block_size": 10_000})
    eventually(lambda: node.running("INSERT INTO t") == 0, "the insert ended")
    assert client.execute("SELECT count() FROM t") == [(0,)]


def test_a_query_is_known_by_the_id_that_its_client_gave(node: NodeProcess) -> None:
    slow = node.native()
    failures: list[ServerException] = []

    def run() -> None:
        try:
            slow.execute("SELECT sleepEachRow(0.1) FROM numbers(300) SETTINGS max_block_size = 1", query_id="mine")
        except ServerException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    other = node.native()
    sql = "SELECT query_id, initial_query_id FROM system.processes WHERE query_id = 'mine'"
    eventually(lambda: other.execute(sql) == [("mine", "mine")], "the query is seen")
    assert b"mine\n" in node.curl(f"{node.url}?query=SELECT%20query_id%20FROM%20`system`.processes").stdout
    other.execute("KILL QUERY WHERE query_id = 'another' SYNC")
    assert thread.is_alive()
    other.execute("KILL QUERY WHERE query_id = 'mine' SYNC")
    thread.join(10)
    assert [error.code for error in failures] == [394]
    assert node.native().execute("SELECT query_id FROM system.processes")[0][0] != "", (
        "the engine's, where none is given"
    )
    url = f"{node.url}?query_id=over_http&query=SELECT%20query_id%20FROM%20system.processes"
    assert b"over_http\n" in node.curl(url).stdout
