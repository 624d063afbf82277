"""What SQL reaches outside the database: the folders that the node was started with, whatever its spelling."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_driver.errors import ServerException

from deploy.embedded.clickhouse.errors import EngineError
from deploy.embedded.clickhouse.sql.outside import ENGINES, INSIDE, OUTSIDE
from deploy.embedded.clickhouse.sql.policy import Policy, Role
from tests.node.conftest import ANALYST_DATABASE, ANALYST_PASSWORD, FOLDER, NodeProcess, start

SECRET = "a line that no client may read"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`secret`, which nobody may read, beside the allowed folder `open` with a link to it."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "open").mkdir()
    (folder / "openly").mkdir()
    for path in (folder / "secret", folder / "openly" / "secret"):
        path.write_text(SECRET + "\n")
    (folder / "open" / "plain").write_text("welcome\n")
    (folder / "open" / "link").symlink_to(folder / "secret")
    (folder / "open" / "out").symlink_to(folder)
    return folder


@pytest.fixture(scope="module")
def guarded(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node that may read `open`, with a table, a view of it for the analyst, and one that is not."""
    node = start(tmp_path_factory.mktemp("guarded") / FOLDER, "--readable", str(place / "open"))
    client = node.native()
    client.execute(f"CREATE DATABASE {ANALYST_DATABASE}")
    client.execute(f"CREATE TABLE {ANALYST_DATABASE}.rows (a UInt8, s String) ENGINE = MergeTree ORDER BY a")
    client.execute(f"INSERT INTO {ANALYST_DATABASE}.rows VALUES (1, 'x')")
    for name in ("candles", "private"):
        client.execute(f"CREATE VIEW {ANALYST_DATABASE}.{name} AS SELECT a FROM {ANALYST_DATABASE}.rows")
    client.disconnect()
    yield node
    assert node.stop() == 0


def answers(node: NodeProcess, sql: str, **options: object) -> str:
    """What a statement gives over the native protocol and over HTTP, errors as text."""
    client = node.native(**options)
    try:
        native = str(client.execute(sql))
    except ServerException as error:
        native = error.message
    finally:
        client.disconnect()
    account = f"{options.get('user', 'default')}:{options['password']}" if "password" in options else None
    more = ("-u", account) if account else ()
    return native + node.curl(*more, "--data-binary", sql, node.url).stdout.decode(errors="replace")


READING = [
    "SELECT * FROM file('{secret}', 'LineAsString')",
    "SELECT * FROM `file`('{secret}', 'LineAsString')",
    "SELECT * FROM \"\\x66ile\"('{secret}', 'LineAsString')",
    "SELECT * FROM /* */ file /**/ ('{secret}', 'LineAsString')",
    "SELECT * FROM file('{open}/link', 'LineAsString')",
    "SELECT * FROM file('{open}/out/secret', 'LineAsString')",
    "SELECT * FROM file('{open}/../secret', 'LineAsString')",
    "SELECT * FROM file('{open}ly/secret', 'LineAsString')",
    "SELECT * FROM file('{open}/{{plain,../secret}}', 'LineAsString')",
    "SELECT * FROM file('{open}/*/secret', 'LineAsString')",
    "SELECT * FROM file('{open}/l?nk', 'LineAsString')",
    "SELECT * FROM file('{open}/{{plain,link}}', 'LineAsString')",
    "SELECT * FROM file('{open}/{{plain,out/secret}}', 'LineAsString')",
    "SELECT * FROM file(concat('{secret}', ''), 'LineAsString')",
    "SELECT * FROM file('{open}/plain', 'LineAsString') AS a, '{secret}'",
    "SELECT file('{secret}')",
    "SELECT arrayMap(file, ['{secret}'])",
    "SELECT * APPLY file FROM (SELECT '{secret}' AS p)",
    "SELECT * APPLY(`fi\\x6ce`) FROM (SELECT '{secret}' AS p)",
    "SELECT a$b$, file('{secret}') $b$ FROM (SELECT 1 AS `a$b$`)",
    "SELECT /* /* */ file('{secret}') /* */ -- */",
    "SELECT 1 // $x$\n, file('{secret}') // $x$",
    "SELECT \u2018\u2019, file('{secret}'), \u2018\u2019",
    "SELECT $ a $, $ a $, file('{secret}'), $ a $$ a $",
    "SELECT * FROM '{secret}'",
    "SELECT * FROM `{secret}`",
    "SELECT * FROM default.`{secret}`",
    "SELECT * FROM fileCluster('default', '{secret}', 'LineAsString')",
    "SELECT * FROM eval('SELECT * FROM file(''{secret}'')')",
    "SELECT * FROM format(LineAsString, file('{secret}'))",
    "CREATE TABLE shop.f (line String) ENGINE = File(LineAsString, '{secret}')",
    "CREATE TABLE shop.f AS file('{secret}', 'LineAsString')",
    "CREATE VIEW shop.f (line String) AS SELECT * FROM file('{secret}', 'LineAsString')",
    "CREATE TABLE shop.f (a UInt8, b String DEFAULT file('{secret}')) ENGINE = MergeTree ORDER BY a",
    "CREATE DATABASE f ENGINE = Filesystem('/')",
    "CREATE DICTIONARY shop.f (a UInt8) PRIMARY KEY a SOURCE(FILE(path '{secret}' format 'TSV')) LAYOUT(FLAT())",
    "CREATE FUNCTION f AS (x) -> file(x)",
    "INSERT INTO shop.rows FROM INFILE '{secret}' FORMAT LineAsString",
    "INSERT INTO shop.rows VALUES (2, file('{secret}'))",
    "INSERT INTO shop.rows VALUES (2, `fi\\x6ce`('{secret}'))",
    "INSERT INTO shop.rows FORMAT Values (2, file('{secret}'))",
    "SELECT 1 FORMAT Template SETTINGS format_template_resultset = '{secret}'",
    "BACKUP TABLE shop.rows TO File('{open}/backup')",
    "RESTORE TABLE shop.rows FROM File('{secret}')",
    "ATTACH TABLE shop.g FROM '{open}' (a UInt8) ENGINE = MergeTree ORDER BY a",
    "SET dialect = 'kusto'",
    "SET ROLE operator, reader",
]


@pytest.mark.parametrize("sql", READING)
def test_no_file_outside_the_folder_is_read(guarded: NodeProcess, place: Path, sql: str) -> None:
    text = sql.format(secret=place / "secret", open=place / "open")
    found = answers(guarded, text)
    assert SECRET not in found
    assert len(re.findall(r"DB::\w*Exception", found)) >= 2, f"not refused: {found}"
    rows = guarded.native().execute(f"SELECT s FROM {ANALYST_DATABASE}.rows")
    assert rows == [("x",)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'x' INTO OUTFILE '{target}'",
        "SELECT 'x' INTO/**/OUTFILE '{target}' TRUNCATE FORMAT TSV",
        "INSERT INTO FUNCTION file('{target}', 'LineAsString') SELECT 'x'",
        "INSERT INTO FUNCTION `file`('{target}', 'LineAsString', 'a String') VALUES ('x')",
        "CREATE TABLE shop.w (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type=local, path='{target}')",
        "EXPLAIN SELECT 1 INTO OUTFILE '{target}'",
    ],
)
def test_no_file_is_written(guarded: NodeProcess, place: Path, sql: str) -> None:
    target = place / "open" / "written"
    found = answers(guarded, sql.format(target=target))
    assert found.count("DB::Exception") >= 2
    assert not target.exists()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
        "SELECT * FROM remote('127.0.0.1:1', 'system.one')",
        "SELECT * FROM mysql('127.0.0.1:1', 'd', 't', 'u', 'p')",
        "SELECT * FROM postgresql('127.0.0.1:1', 'd', 't', 'u', 'p')",
        "SELECT * FROM s3('http://127.0.0.1:1/bucket/x', 'CSV', 'a String')",
        "SELECT * FROM icebergS3('http://127.0.0.1:1/bucket/x')",
        "SELECT * FROM hdfs('hdfs://127.0.0.1:1/x', 'CSV', 'a String')",
        "SELECT * FROM executable('x', 'TSV', 'a String')",
        "SELECT * FROM python('x')",
        "CREATE TABLE shop.u (a String) ENGINE = URL('http://127.0.0.1:1/', CSV)",
        "CREATE TABLE shop.u (a String) ENGINE = URL(kafka_sinks)",
        "CREATE TABLE shop.u (a String) ENGINE = URL(kafka_sinks, headers('X-Sink-Table' = 'u'))",
        "SELECT * FROM url(kafka_sinks)",
        "INSERT INTO FUNCTION url(kafka_sinks) VALUES ('a')",
        "CREATE TABLE shop.u (a String) ENGINE = MySQL('127.0.0.1:1', 'd', 't', 'u', 'p')",
        "CREATE NAMED COLLECTION c AS url = 'http://127.0.0.1:1/'",
    ],
)
def test_no_other_server_is_reached(guarded: NodeProcess, sql: str) -> None:
    assert answers(guarded, sql).count("DB::Exception") >= 2


def test_the_folder_can_be_read_and_views_of_it_too(guarded: NodeProcess, place: Path) -> None:
    client = guarded.native()
    for path in (f"{place}/open/plain", f"{place}/open/{{plain,none}}"):
        assert client.execute(f"SELECT * FROM file('{path}', 'LineAsString')") == [("welcome",)]
    client.execute(
        f"CREATE VIEW shop.seen DEFINER = CURRENT_USER SQL SECURITY DEFINER "
        f"AS SELECT * FROM file('{place}/open/plain', 'LineAsString')"
    )
    assert client.execute("SELECT * FROM shop.seen") == [("welcome",)]
    client.execute("DROP VIEW shop.seen")


def test_rows_that_stream_are_not_run(guarded: NodeProcess, place: Path) -> None:
    rows = b",".join(b"(3, 'y')" for _ in range(60_000)) + f",(4, file('{place}/secret'))".encode()
    answer = guarded.curl("--data-binary", "@-", f"{guarded.url}?query=INSERT%20INTO%20shop.rows%20VALUES", data=rows)
    assert b"DB::Exception" in answer.stdout
    assert guarded.native().execute("SELECT count() FROM shop.rows") == [(1,)]


def test_every_table_function_and_engine_of_the_engine_is_known(guarded: NodeProcess) -> None:
    client = guarded.native()
    functions = {name for (name,) in client.execute("SELECT name FROM system.table_functions")}
    assert functions - INSIDE - OUTSIDE == set(), "decide whether these reach outside the database"
    engines = {name for (name,) in client.execute("SELECT name FROM system.table_engines")}
    assert ENGINES - engines == {"Atomic"}


ANALYST = {"user": "analyst", "password": ANALYST_PASSWORD}


def test_the_analyst_reads_what_is_shared(guarded: NodeProcess) -> None:
    client = guarded.native(**ANALYST)
    assert client.execute(f"SELECT * FROM {ANALYST_DATABASE}.candles") == [(1,)]
    client.execute(f"USE {ANALYST_DATABASE}")
    client.execute("SET max_threads = 1")
    assert client.execute("SELECT a FROM candles", settings={"max_block_size": 10}) == [(1,)]
    assert client.execute("SHOW TABLES") == [("candles",)]
    assert client.execute(f"DESCRIBE {ANALYST_DATABASE}.candles")[0][:2] == ("a", "UInt8")
    http = guarded.http(username="analyst", password=ANALYST_PASSWORD, database=ANALYST_DATABASE)
    assert http.query("SELECT a FROM candles").result_rows == [(1,)]


def test_show_tables_lists_to_the_analyst_what_it_was_told_to(tmp_path: Path) -> None:
    """Of a database of which it was told nothing it lists all. What it does not list answers by its name."""
    more = ("other.a", "other.b")
    given = (*(("--analyst-table", name) for name in ("shop.more", *more)), ("--listed-table", "shop.more"))
    node = start(tmp_path, *(word for pair in given for word in pair))
    operator = node.native()
    for database, *names in (("shop", "candles", "more", "hidden"), ("other", "a", "b", "c")):
        operator.execute(f"CREATE DATABASE {database}")
        for name in names:
            operator.execute(f"CREATE TABLE {database}.{name} (a UInt8) ENGINE = MergeTree ORDER BY a")
    analyst = node.native(**ANALYST)
    assert analyst.execute("SHOW TABLES FROM shop") == [("more",)]
    standard = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'shop'"
    assert analyst.execute(standard) == [("more",)]
    assert analyst.execute("SHOW TABLES FROM other") == [("a",), ("b",)]
    assert analyst.execute("SELECT * FROM shop.candles") == []
    assert analyst.execute("SELECT DISTINCT table FROM system.columns WHERE database = 'shop' ORDER BY table") == [
        ("candles",),
        ("more",),
    ]
    assert operator.execute("SHOW TABLES FROM shop") == [("candles",), ("hidden",), ("more",)]
    assert node.stop() == 0


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM shop.rows",
        "SELECT * FROM shop.private",
        "SELECT * FROM merge('shop', 'rows')",
        "SELECT * FROM view(SELECT * FROM shop.rows)",
        "SELECT * FROM mergeTreeIndex('shop', 'rows')",
        "SELECT file('{open}/plain')",
        "SELECT * FROM file('{open}/plain', 'LineAsString')",
        "SELECT * FROM system.processes",
        "SELECT * FROM `syst\\x65m`.query_cache",
        "SELECT * FROM system . /* */ stack_trace",
        "SELECT * FROM system.disks",
        "SELECT * FROM {{d:Identifier}}.processes",
        "SHOW PROCESSLIST",
        "USE system",
        "SET readonly = 0",
        "SET ROLE operator",
        "SELECT 1 SETTINGS readonly = 0",
        "INSERT INTO shop.rows VALUES (9, 'z')",
        "INSERT INTO FUNCTION null('a UInt8') VALUES (1)",
        "CREATE TABLE shop.mine (a UInt8) ENGINE = Memory",
        "CREATE TEMPORARY TABLE mine (a UInt8)",
        "DROP VIEW shop.candles",
        "ALTER TABLE shop.rows DELETE WHERE 1",
        "KILL QUERY WHERE 1",
        "SYSTEM FLUSH LOGS",
        "OPTIMIZE TABLE shop.rows",
        "EXPLAIN SELECT * FROM shop.rows",
        "WITH 1 AS x INSERT INTO shop.rows SELECT x, 'y'",
    ],
)
def test_the_analyst_does_nothing_else(guarded: NodeProcess, place: Path, sql: str) -> None:
    found = answers(guarded, sql.format(open=place / "open"), **ANALYST)
    assert found.count("DB::Exception") >= 2, found
    assert guarded.native().execute("SELECT count() FROM shop.rows") == [(1,)]


def test_the_analyst_has_no_session_on_system(guarded: NodeProcess) -> None:
    with pytest.raises(ServerException):
        guarded.native(**ANALYST, database="system").execute("SELECT * FROM processes")
    answer = guarded.curl(
        "-u", f"analyst:{ANALYST_PASSWORD}", f"{guarded.url}?database=system&query=SELECT%20*%20FROM%20processes"
    )
    assert b"DB::Exception" in answer.stdout
    assert b"DB::Exception" in guarded.curl("-u", f"analyst:{ANALYST_PASSWORD}", f"{guarded.url}kafka").stdout


def test_the_operator_makes_tables_of_every_engine_that_is_admitted(guarded: NodeProcess) -> None:
    client = guarded.native()
    client.execute("CREATE DATABASE kinds ENGINE = Atomic")
    clauses = {"Join": "Join(ANY, LEFT, a)", "Buffer": "Buffer('shop', 'rows', 1, 1, 1, 1, 1, 1, 1)"}
    clauses |= {"Merge": "Merge('shop', 'rows')", "GenerateRandom": "GenerateRandom(1)"}
    signs = {"CollapsingMergeTree": "(s)", "VersionedCollapsingMergeTree": "(s, a)"}
    for engine in sorted(ENGINES - {"View", "MaterializedView", "Atomic"}):
        order = " ORDER BY a" if engine.endswith("MergeTree") else ""
        clause = clauses.get(engine, engine + signs.get(engine, ""))
        client.execute(f"CREATE TABLE kinds.{engine} (a UInt8, s Int8) ENGINE = {clause}{order}")
    client.execute("DROP DATABASE kinds SYNC")


def test_what_is_admitted_is_decided_on_the_resolved_path(place: Path) -> None:
    policy = Policy(folders=(place / "open",), buckets=("http://127.0.0.1:9/warehouse",))
    for sql in (
        f"SELECT * FROM icebergLocal('{place}/open/t/', SETTINGS iceberg_use_version_hint = 1)",
        f"SELECT * FROM file('{place}/open/{{a,b}}.parquet', Parquet, 'a String')",
        "SELECT * FROM s3('http://127.0.0.1:9/warehouse/x.parquet', 'Parquet')",
    ):
        assert policy.read(sql, Role.OPERATOR).reads_outside
    for sql in (
        f"SELECT * FROM icebergLocal('{place}/open/out/t/')",
        "SELECT * FROM s3('http://127.0.0.1:9/warehouses/x', 'CSV')",
        "SELECT * FROM s3('http://127.0.0.1:9/warehouse/../x', 'CSV')",
        f"SELECT * FROM file('{place}/open/x.zip :: secret', 'CSV')",
        "SELECT * FROM file('open/plain', 'CSV')",
    ):
        with pytest.raises(EngineError) as failure:
            policy.read(sql, Role.OPERATOR)
        assert failure.value.code == 481
