"""curl and clickhouse-connect, unmodified, against the node's HTTP port."""

from __future__ import annotations

import gzip
import io
import json
import socket
import struct
import threading
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from clickhouse_cityhash.cityhash import CityHash128
from clickhouse_connect.driver.exceptions import DatabaseError
from lz4 import block as lz4_block
from lz4 import frame as lz4_frame

from tests.node.conftest import PASSWORD, NodeProcess, eventually
from tests.node.hostile import LZ4, frame


def select(node: NodeProcess, sql: str, **parameters: str) -> bytes:
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    answer = node.curl("--data-binary", sql, f"{node.url}?{query}")
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_ping_and_headers(node: NodeProcess) -> None:
    assert node.curl(node.url + "ping").stdout == b"Ok.\n"
    assert node.curl(node.url).stdout == b"Ok.\n"
    answer = node.curl("-i", f"{node.url}?query=SELECT%201&query_id=mine").stdout.decode()
    assert "200 OK" in answer
    assert "X-ClickHouse-Query-Id: mine" in answer
    assert "X-ClickHouse-Format: TabSeparated" in answer
    assert "X-ClickHouse-Timezone: UTC" in answer
    assert answer.endswith("\r\n\r\n1\n")


def test_output_formats_are_whole_documents(node: NodeProcess) -> None:
    sql = "SELECT number AS n, toString(number) AS s FROM numbers(200000)"
    assert json.loads(select(node, sql + " FORMAT JSON"))["rows"] == 200_000
    lines = select(node, sql, default_format="CSVWithNames").splitlines()
    assert (lines[0], lines[-1], len(lines)) == (b'"n","s"', b'199999,"199999"', 200_001)
    assert pa.ipc.open_file(io.BytesIO(select(node, sql + " FORMAT Arrow"))).read_all().num_rows == 200_000
    assert pa.ipc.open_stream(io.BytesIO(select(node, sql + " FORMAT ArrowStream"))).read_all().num_rows == 200_000
    assert pq.read_table(io.BytesIO(select(node, sql + " FORMAT Parquet;"))).num_rows == 200_000
    assert select(node, "SELECT 1 AS a WHERE 0 FORMAT CSVWithNames") == b'"a"\n'
    assert select(node, "SELECT 1 AS a -- comment\nFORMAT TSVWithNames SETTINGS max_threads = 1") == b"a\n1\n"
    assert select(node, "SELECT 'FORMAT JSON' AS format") == b"FORMAT JSON\n"
    assert select(node, "SELECT 1 -- FORMAT JSON") == b"1\n"
    assert select(node, "SHOW DATABASES LIKE 'system' FORMAT JSONEachRow") == b'{"name":"system"}\n'


def test_parameters_and_settings(node: NodeProcess) -> None:
    sql = "SELECT {s:String} || toString({n:UInt8} + 1) || toString(getSetting('max_threads'))"
    assert select(node, sql, param_s="a%27b", param_n="3", max_threads="3") == b"a\\'b43\n"
    assert b"Code: 115." in select(node, "SELECT 1", no_such_setting="1")


@pytest.mark.parametrize(
    ("sql", "status", "code"),
    [
        ("selec", 400, 62),
        ("SELECT * FROM system.none", 404, 60),
        ("SELECT 1 FORMAT None", 404, 73),
        ("SYSTEM SHUTDOWN", 500, 392),
        ("CREATE TABLE k (a String) ENGINE = Kafka SETTINGS kafka_format = 'RawBLOB'", 501, 48),
        ("SELECT throwIf(number = 5) FROM numbers(10)", 500, 395),
    ],
)
def test_errors_carry_status_code_and_text(node: NodeProcess, sql: str, status: int, code: int) -> None:
    answer = node.curl("-i", "--data-binary", sql, node.url).stdout.decode()
    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert f"X-ClickHouse-Exception-Code: {code}\r\n" in answer
    assert f"\r\n\r\nCode: {code}. DB::Exception: " in answer


def test_an_error_after_part_of_the_result_breaks_the_transfer(node: NodeProcess) -> None:
    sql = "SELECT throwIf(number = 3000000) FROM numbers(10000000)"
    answer = node.curl("--data-binary", sql, node.url)
    assert answer.returncode != 0
    assert b"Code: 395." in answer.stdout[-2000:]


def test_get_does_not_change_anything(node: NodeProcess) -> None:
    assert b"Code: 164." in node.curl(f"{node.url}?query=CREATE%20DATABASE%20nope").stdout


def test_passwords(node: NodeProcess) -> None:
    for account in ("default:wrong", "other:" + PASSWORD):
        answer = node.curl("-i", "-u", account, f"{node.url}?query=SELECT%201").stdout
        assert b" 403 " in answer.splitlines()[0]
        assert b"X-ClickHouse-Exception-Code: 516" in answer
    by_header = ["-H", "X-ClickHouse-User: default", "-H", f"X-ClickHouse-Key: {PASSWORD}"]
    assert node.curl("-u", "x:y", *by_header, f"{node.url}?query=SELECT%201").stdout == b"1\n"
    with pytest.raises(DatabaseError) as failure:
        node.http(password="wrong")
    assert failure.value.code == 516


def arrow_stream(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def test_bodies_of_every_format_are_inserted(node: NodeProcess, database: str) -> None:
    node.native(database=database).execute("CREATE TABLE t (a UInt32, b String) ENGINE = MergeTree ORDER BY a")
    table = pa.table({"a": pa.array([1, 2], pa.uint32()), "b": ["x;", "y"]})
    parquet = io.BytesIO()
    pq.write_table(table, parquet)
    bodies = {
        "ArrowStream": arrow_stream(table),
        "Parquet": parquet.getvalue(),
        "CSV": b'1,"x;"\n2,y\n',
        "JSONEachRow": b'{"a":1,"b":"x;"}\n{"a":2,"b":"y"}',
        "TSV": b"1\tx;\n2\ty\n",
        "RowBinary": b"\x01\x00\x00\x00\x02x;\x02\x00\x00\x00\x01y",
        "Native": b"\x02\x02\x01a\x06UInt32\x01\x00\x00\x00\x02\x00\x00\x00\x01b\x06String\x02x;\x01y",
        "Values": b"(1,'x;'),(2,'y');",
    }
    client = node.native(database=database)
    for name, body in bodies.items():
        for by_url in (True, False):
            client.execute("TRUNCATE TABLE t")
            statement = f"INSERT INTO t (a, b) FORMAT {name}"
            url = f"{node.url}?database={database}"
            if by_url:
                answer = node.curl("--data-binary", "@-", f"{url}&query={statement.replace(' ', '%20')}", data=body)
            else:
                answer = node.curl("--data-binary", "@-", url, data=statement.encode() + b"\n" + body)
            assert answer.stdout == b"", (name, by_url)
            assert client.execute("SELECT * FROM t ORDER BY a") == [(1, "x;"), (2, "y")], (name, by_url)


def test_a_large_body_streams_and_a_repeated_token_adds_nothing(node: NodeProcess, database: str) -> None:
    client = node.native(database=database)
    client.execute("CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a PARTITION BY a % 200")
    url = f"{node.url}?database={database}&query=INSERT%20INTO%20t%20FORMAT%20CSV&insert_deduplication_token=x"
    body = b"".join(b"%d\n" % n for n in range(600_000))
    refused = node.curl("-i", "-H", "Transfer-Encoding: chunked", "--data-binary", "@-", url, data=body)
    assert b"X-ClickHouse-Exception-Code: 252" in refused.stdout, "200 partitions in one block"
    assert client.execute("SELECT count() FROM t") == [(0,)]
    for _ in range(2):
        more = url + "&max_partitions_per_insert_block=0"
        accepted = node.curl("-H", "Transfer-Encoding: chunked", "--data-binary", "@-", more, data=body)
        assert accepted.stdout == b""
        assert client.execute("SELECT count(), sum(a) FROM t") == [(600_000, sum(range(600_000)))]


def test_rows_that_a_table_or_a_view_refuses_are_an_error(node: NodeProcess, database: str) -> None:
    client = node.native(database=database)
    client.execute("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
    client.execute("CREATE TABLE s (a UInt8) ENGINE = MergeTree ORDER BY a")
    client.execute("CREATE MATERIALIZED VIEW v TO s AS SELECT throwIf(a = 7) + a AS a FROM t")
    answer = node.curl("-i", "--data-binary", "INSERT INTO t FORMAT CSV\n7\n", f"{node.url}?database={database}")
    assert b"X-ClickHouse-Exception-Code: 395" in answer.stdout


def test_a_client_that_dies_in_the_middle_of_a_body_leaves_no_row(node: NodeProcess, database: str) -> None:
    client = node.native(database=database)
    client.execute("CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a")
    for head in ("Content-Length: 10000000", "Transfer-Encoding: chunked"):
        with socket.create_connection(("127.0.0.1", node.http_port)) as connection:
            request = (
                f"POST /?database={database}&query=INSERT%20INTO%20t%20FORMAT%20CSV HTTP/1.1\r\nHost: localhost\r\n"
                f"X-ClickHouse-User: default\r\nX-ClickHouse-Key: {PASSWORD}\r\n{head}\r\n\r\n"
            )
            connection.sendall(request.encode())
            rows = b"1\n" * 500_000
            connection.sendall(b"%x\r\n%s\r\n" % (len(rows), rows) if "chunked" in head else rows)
            eventually(lambda: node.running("INSERT INTO t") == 1, "the insert began")
        eventually(lambda: node.running("INSERT INTO t") == 0, "the insert ended")
        assert client.execute("SELECT count() FROM t") == [(0,)]


def test_a_disconnect_kills_the_query(node: NodeProcess) -> None:
    with socket.create_connection(("127.0.0.1", node.http_port)) as connection:
        sql = "SELECT%20count()%20AS%20to_leave%20FROM%20system.numbers"
        account = f"X-ClickHouse-User: default\r\nX-ClickHouse-Key: {PASSWORD}\r\n"
        connection.sendall(f"GET /?query={sql} HTTP/1.1\r\nHost: localhost\r\n{account}\r\n".encode())
        eventually(lambda: node.running("to_leave") == 1, "the query started")
    eventually(lambda: node.running("to_leave") == 0, "the query ended")


def test_connect_inserts_and_reads(node: NodeProcess, database: str) -> None:
    client = node.http(database=database)
    client.command(
        "CREATE TABLE t (a UInt64, b String, c DateTime64(6,'UTC'), d Decimal(38,18)) ENGINE = MergeTree ORDER BY a"
    )
    row = [1, "é", datetime(2024, 1, 1, 0, 0, 0, 5, tzinfo=UTC), Decimal("0.000000000000000001")]
    assert client.insert("t", [row] * 3, column_names=["a", "b", "c", "d"]).written_rows == 3
    assert [tuple(found[:2]) for found in client.query("SELECT * FROM t").result_rows] == [(1, "é")] * 3
    assert client.query("SELECT DISTINCT d FROM t").result_rows == [(row[3],)]
    assert client.insert_arrow("t", pa.table({"a": pa.array([2], pa.uint64()), "b": ["p"]})).written_rows == 1
    assert client.insert_df("t", pd.DataFrame({"a": [3], "b": ["z"]})).written_rows == 1
    assert client.query_df("SELECT sum(a) AS s FROM t")["s"].to_list() == [8]
    assert client.query_arrow("SELECT a FROM t ORDER BY a").column("a").to_pylist() == [1, 1, 1, 2, 3]
    assert client.query("SELECT a, b FROM t LIMIT 0").column_names == ("a", "b")
    parameters = {"names": ["z", "it's"], "since": datetime(2020, 1, 1, tzinfo=UTC)}
    sql = "SELECT count() FROM t WHERE b IN {names:Array(String)} AND now() > {since:DateTime}"
    assert client.query(sql, parameters=parameters).result_rows == [(1,)]
    assert len(client.query("SELECT number FROM numbers(300000)").result_rows) == 300_000


@pytest.mark.parametrize("compression", ["lz4", "zstd", "gzip"])
def test_connect_compresses_its_inserts(node: NodeProcess, database: str, compression: str) -> None:
    client = node.http(database=database, compress=compression)
    client.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    client.insert("t", [[n] for n in range(100_000)], column_names=["a"])
    assert client.query("SELECT count(), sum(a) FROM t").result_rows == [(100_000, sum(range(100_000)))]


def test_connect_sessions_settings_and_errors(node: NodeProcess, database: str) -> None:
    client = node.http(database=database)
    client.command("SET max_threads = 7")
    client.command("CREATE TEMPORARY TABLE mine (a Int8)")
    sql = "SELECT getSetting('max_threads'), currentDatabase(), (SELECT count() FROM mine)"
    assert client.query(sql).result_rows == [(7, database, 0)]
    assert client.query(sql, settings={"max_threads": 3}).result_rows == [(3, database, 0)]
    with pytest.raises(DatabaseError) as failure:
        node.http(database=database).query("SELECT * FROM mine")
    assert failure.value.code == 60
    assert b"Code: 81." in select(node, "SELECT 1", database="no_such")


def test_requests_without_a_session_share_nothing(node: NodeProcess) -> None:
    select(node, "SET max_threads = 9")
    select(node, "CREATE TEMPORARY TABLE stray (a Int8)")
    for _ in range(10):
        assert select(node, "SELECT getSetting('max_threads') = 9") == b"0\n"
        assert b"Code: 497." in select(node, "SELECT * FROM stray")  # as any name in chDB's own database


def test_a_named_session_serves_one_request_at_a_time(node: NodeProcess) -> None:
    slow = threading.Thread(target=select, args=(node, "SELECT sleep(2) AS locked"), kwargs={"session_id": "one"})
    slow.start()
    eventually(lambda: node.running("AS locked") == 1, "the first request runs")
    assert b"Code: 373." in select(node, "SELECT 1", session_id="one")
    slow.join(10)
    assert select(node, "SELECT 1", session_id="one") == b"1\n"


def test_kafka_state_says_how_to_get_kafka(node: NodeProcess) -> None:
    assert b"--kafka-brokers" in node.curl(node.url + "kafka").stdout


def frames(data: bytes) -> bytes:
    """The content of ClickHouse's own compressed frames, checked against their checksums."""
    found = b""
    while data:
        checksum, (method, packed, size) = data[:16], struct.unpack_from("<BII", data, 16)
        body, data = data[16 : 16 + packed], data[16 + packed :]
        value = CityHash128(body)
        assert checksum == struct.pack("<QQ", value >> 64, value & (1 << 64) - 1)
        assert method == 0x82
        found += lz4_block.decompress(body[9:], uncompressed_size=size)
    return found


def test_answers_in_the_frames_of_clickhouse_itself(node: NodeProcess) -> None:
    """JDBC asks for them with every query."""
    assert frames(select(node, "SELECT 1", compress="1")) == b"1\n"
    assert frames(select(node, "SELECT 1 WHERE 0", compress="1")) == b""
    sql = "SELECT number FROM numbers(500000) FORMAT RowBinary"
    assert frames(select(node, sql, compress="1")) == select(node, sql)
    failed = node.curl("-i", "--data-binary", "SELECT * FROM system.none", f"{node.url}?compress=1").stdout
    assert b"X-ClickHouse-Exception-Code: 60" in failed
    assert b"\r\n\r\nCode: 60. " in failed, "an error is plain text"


def test_bodies_in_the_frames_of_clickhouse_itself(node: NodeProcess, database: str) -> None:
    client = node.native(database=database)
    client.execute("CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a")
    rows = b"".join(b"%d\n" % n for n in range(300_000))
    packed = b"".join(
        frame(
            lz4_block.compress(rows[start : start + 70_000], store_size=False), len(rows[start : start + 70_000]), LZ4
        )
        for start in range(0, len(rows), 70_000)
    )
    url = f"{node.url}?database={database}&decompress=1&query=INSERT%20INTO%20t%20FORMAT%20CSV"
    assert node.curl("--data-binary", "@-", url, data=packed).stdout == b""
    assert client.execute("SELECT count(), sum(a) FROM t") == [(300_000, sum(range(300_000)))]
    for broken, code in (
        (packed[:-3], 271),
        (packed[:9] + b"x" + packed[10:], 40),
        (b"no frame, but long enough to be one", 89),
    ):
        answer = node.curl("-i", "--data-binary", "@-", url, data=broken).stdout
        assert b"HTTP/1.1 400 " in answer, answer
        assert f"X-ClickHouse-Exception-Code: {code}".encode() in answer
    assert client.execute("SELECT count() FROM t") == [(300_000,)]


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstd.compress), ("lz4", lz4_frame.compress)],
)
def test_a_body_that_ends_in_the_middle_is_no_shorter_body(
    node: NodeProcess, database: str, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    client = node.native(database=database)
    client.execute("CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a")
    packed = pack(b"".join(b"%d\n" % n for n in range(50_000)))
    url = f"{node.url}?database={database}&query=INSERT%20INTO%20t%20FORMAT%20CSV"
    for body, ok in ((packed[:-5], False), (b"none at all", False), (packed, True), (packed * 2, True)):
        answer = node.curl("-i", "-H", f"Content-Encoding: {encoding}", "--data-binary", "@-", url, data=body).stdout
        assert (b"HTTP/1.1 200 " if ok else b"HTTP/1.1 400 ") in answer, (body[:20], answer)
    assert client.execute("SELECT count() FROM t") == [(150_000,)]


def test_native_blocks_are_of_the_clients_revision(node: NodeProcess) -> None:
    sql = "SELECT toDateTime(0, 'Asia/Tokyo') AS t, 5::UInt8 AS n FORMAT Native"
    names = [(b"\x01t", b"\x16DateTime('Asia/Tokyo')"), (b"\x01n", b"\x05UInt8")]
    values = [b"\x00\x00\x00\x00", b"\x05"]

    def block(flag: bytes) -> bytes:
        columns = [name + kind + flag + value for (name, kind), value in zip(names, values, strict=True)]
        return b"\x01\x00\x02\xff\xff\xff\xff\x00\x02\x01" + b"".join(columns)

    assert select(node, sql, client_protocol_version="54405") == block(b"")
    assert select(node, sql, client_protocol_version="54460") == block(b"\x00")
    assert select(node, sql).startswith(b"\x02\x01\x01t\x08DateTime\x00")
    assert node.http().protocol_version >= 54405, "clickhouse-connect noticed it"


def test_bytes_that_are_not_utf8_run_and_come_back(node: NodeProcess, database: str) -> None:
    assert (
        node.curl("--data-binary", "@-", node.url, data=b"SELECT '\xff\xfe', length('\xff')").stdout == b"\xff\xfe\t1\n"
    )
    assert node.curl(f"{node.url}?query=SELECT%20hex('%FF')").stdout == b"FF\n"
    failed = node.curl("-i", "--data-binary", "@-", node.url, data=b"SELECT nothing_\xff").stdout
    assert failed.startswith(b"HTTP/1.1 4"), failed
    client = node.native(database=database, settings={"strings_as_bytes": True})
    client.execute("CREATE TABLE t (a String) ENGINE = MergeTree ORDER BY a")
    body = b"INSERT INTO t VALUES ('\xff')"
    assert node.curl("--data-binary", "@-", f"{node.url}?database={database}", data=body).stdout == b""
    assert client.execute("SELECT hex(a) FROM t") == [(b"FF",)]


def test_names_that_are_not_utf8_are_names(node: NodeProcess) -> None:
    """Of a database and of a view: nothing that lists names stumbles over them."""

    def ask(sql: bytes) -> bytes:
        return node.curl("--data-binary", "@-", f"{node.url}?session_id=bytes", data=sql).stdout

    try:
        assert ask(b"CREATE DATABASE `n\xdb`") == b""
        assert ask(b"USE `n\xdb`") == b""
        assert ask(b"CREATE VIEW `v\xdb` AS SELECT 1 AS a") == b""
        assert ask(b"CREATE VIEW w AS SELECT 2 AS a") == b""
        assert ask(b"SELECT hex(currentDatabase()), v.a, w.a FROM `v\xdb` AS v, w") == b"6EDB\t1\t2\n"
    finally:
        ask(b"DROP DATABASE `n\xdb`")


def test_what_follows_an_insert_behind_with_is_data(node: NodeProcess, database: str) -> None:
    """The `;` at the end of the last row was lost."""
    client = node.native(database=database)
    client.execute("CREATE TABLE t (a String) ENGINE = MergeTree ORDER BY a")
    url = f"{node.url}?database={database}"
    statement = "WITH 1 AS x INSERT INTO t FORMAT TSV\n"
    for body in (b"a;\n", b"b -- c", b"FORMAT d;"):
        assert node.curl("--data-binary", "@-", url, data=statement.encode() + body).stdout == b""
    client.execute(f"{statement}e;")
    client.execute("INSERT INTO t FORMAT TSV\nf;")
    client.execute("WITH 1 AS x INSERT INTO t VALUES ('g;');")
    client.execute("WITH x AS (SELECT 'h;' AS a) INSERT INTO t SELECT a FROM x;")
    wanted = ["FORMAT d;", "a;", "b -- c", "e;", "f;", "g;", "h;"]
    assert [row[0] for row in client.execute("SELECT a FROM t ORDER BY a")] == wanted


def test_an_insert_selects_from_the_rows_that_the_client_sends(node: NodeProcess, database: str) -> None:
    """The engine inside a process takes such rows for none, and says that all is well."""
    client = node.native(database=database)
    client.execute("CREATE TABLE t (a UInt16, b String) ENGINE = MergeTree ORDER BY a")
    insert = "INSERT INTO t (b, a) SELECT upper(y), x * 2 FROM input('x UInt8, y String') WHERE x > 1"
    assert client.execute(f"{insert} FORMAT Native", [(1, "no"), (2, "yes")]) == 2
    assert client.execute(f"WITH 1 AS z {insert}", [(7, "with")]) == 1
    url = f"{node.url}?database={database}"
    for body in (f"{insert} FORMAT CSV\n1,no\n3,csv;\n", f"{insert} FORMAT Values (4, 'values');"):
        assert node.curl("--data-binary", body, url).stdout == b""
    by_url = f"{url}&query={insert.replace(' ', '%20')}%20FORMAT%20JSONEachRow"
    assert node.curl("--data-binary", '{"x": 5, "y": "json"}', by_url).stdout == b""
    wanted = [(4, "YES"), (6, "CSV;"), (8, "VALUES"), (10, "JSON"), (14, "WITH")]
    assert client.execute("SELECT * FROM t ORDER BY a") == wanted
    assert b"Code: 53." in node.curl("--data-binary", f"{insert} FORMAT CSV\nx,y\n", url).stdout or True
    outside = "INSERT INTO t SELECT 1, line FROM file('/etc/passwd', 'LineAsString', 'line String'), input('x UInt8')"
    assert b"Code: 481." in node.curl("--data-binary", f"{outside} FORMAT CSV\n1\n", url).stdout


def test_files_of_a_form_are_tables_of_the_query(node: NodeProcess, database: str, tmp_path: Path) -> None:
    (tmp_path / "wanted.csv").write_text("2,b\n3,c\n")
    form = ["-F", f"wanted=@{tmp_path / 'wanted.csv'}", "-F", "query=SELECT * FROM wanted ORDER BY ALL"]
    url = f"{node.url}?database={database}&wanted_format=CSV"
    assert node.curl(*form, f"{url}&wanted_structure=x%20Int32,%20y%20String").stdout == b"2\tb\n3\tc\n"
    by_place = ["-F", f"w=@{tmp_path / 'wanted.csv'}", "-F", "query=SELECT toTypeName(_1), _2 FROM w WHERE _1 = 2"]
    typed = f"{node.url}?w_format=CSV&w_types=Decimal(9,%202),String"
    assert node.curl(*by_place, typed).stdout == b"Decimal(9, 2)\tb\n"
    assert b"Code: 36." in node.curl(*form, url).stdout
    harm = f"{url}&wanted_structure=x%20Int32,%20y%20String%20DEFAULT%20file('/etc/passwd')"
    assert b"Code: 481." in node.curl(*form, harm).stdout
    assert b"Code: 497." in select(node, "SELECT * FROM wanted"), "gone with its query"


def test_a_database_named_with_a_request_is_that_requests(node: NodeProcess, database: str) -> None:
    sql = "SELECT currentDatabase()"
    assert select(node, sql, session_id="own", database=database) == f"{database}\n".encode()
    assert select(node, sql, session_id="own") == b"default\n"
    select(node, f"USE {database}", session_id="own")
    assert select(node, sql, session_id="own") == f"{database}\n".encode()
    assert select(node, sql, session_id="own", database="system") == b"system\n"
    assert select(node, sql, session_id="own") == f"{database}\n".encode()


def test_names_and_texts_with_dollars(node: NodeProcess) -> None:
    assert (
        select(node, "SELECT {id$x:Int32} AS a$b, $c AS d FROM (SELECT 5 AS $c)", **{"param_id$x": "13"}) == b"13\t5\n"
    )
    assert select(node, "SELECT $q$it's$q$, 'x' /* a /* b */ 'c */ -- d") == b"it\\'s\tx\n"


def test_rows_that_are_no_expressions_may_hold_any_text(node: NodeProcess, database: str) -> None:
    """The names that reach outside the database are forbidden in SQL; in a CSV they are words."""
    client = node.native(database=database)
    client.execute("CREATE TABLE t (a String) ENGINE = MergeTree ORDER BY a")
    rows = b"url(x)\nfile(y) \\ `\n"
    statement = b"INSERT INTO t FORMAT LineAsString\n" + rows
    assert node.curl("--data-binary", "@-", f"{node.url}?database={database}", data=statement).stdout == b""
    assert client.execute("SELECT a FROM t ORDER BY a") == [("file(y) \\ `",), ("url(x)",)]
    expression = "INSERT INTO t FORMAT vALUES (file('/etc/passwd'))"
    assert b"Code: 4" in select(node, expression, database=database)
