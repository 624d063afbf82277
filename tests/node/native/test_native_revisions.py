"""The native protocol at the socket: what each revision has, for a client that knows it and for one that does not."""

from __future__ import annotations

import io
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from clickhouse_driver.errors import ServerException

from deploy.embedded.clickhouse.native_format.packets import BLOCK_INFO, string, varint
from tests.node.conftest import PASSWORD, NodeProcess

OLDEST, NEWEST = 54453, 54464
DATA, EXCEPTION, PROGRESS, END, PROFILE_INFO, TOTALS, EXTREMES, PROFILE_EVENTS = 1, 2, 3, 5, 6, 7, 8, 14


class Raw:
    """A client that decodes what these tests ask for, by the protocol's description and without the node's code."""

    def __init__(self, connection: socket.socket, revision: int) -> None:
        self.connection, self.revision = connection, revision
        self.stream: io.BufferedReader = connection.makefile("rb")

    def varint(self) -> int:
        value = shift = 0
        while True:
            (byte,) = self.stream.read(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def string(self) -> str:
        return self.stream.read(self.varint()).decode()

    def numbers(self, count: int) -> list[int]:
        return [self.varint() for _ in range(count)]

    def hello(self) -> list[object]:
        names = (string("raw"), varint(1), varint(0), varint(self.revision), string(""), string("default"))
        self.connection.sendall(varint(0) + b"".join(names) + string(PASSWORD))
        assert self.varint() == 0
        found: list[object] = [self.string(), *self.numbers(3), self.string(), self.string(), self.varint()]
        if self.revision >= 54461:
            assert self.numbers(1) == [0], "no rules for passwords"
        if self.revision >= 54462:
            self.stream.read(8)
        if self.revision >= 54458:
            self.connection.sendall(string(""))
        return found

    def query(self, sql: str, settings: dict[str, str] | None = None, params: dict[str, str] | None = None) -> None:
        given = b"".join(string(name) + varint(0) + string(value) for name, value in (settings or {}).items())
        asked = b"".join(string(name) + varint(2) + string(value) for name, value in (params or {}).items())
        head = varint(1) + string("") + b"\x00" + given + string("") + string("") + varint(2) + varint(0) + string(sql)
        tail = asked + string("") if self.revision >= 54459 else b""
        self.connection.sendall(head + tail + self.data(varint(0) + varint(0)))

    def data(self, block: bytes) -> bytes:
        return varint(2) + string("") + BLOCK_INFO + block

    def head(self) -> tuple[int, list[tuple[str, str]]]:
        """Rows and columns of a block of no rows, or of one whose columns are all UInt8."""
        self.string()
        assert self.stream.read(len(BLOCK_INFO)) == BLOCK_INFO
        count, rows = self.numbers(2)
        columns = []
        self.values: list[list[int]] = []
        for _ in range(count):
            columns.append((self.string(), self.string()))
            if self.revision >= 54454:
                assert self.stream.read(1) == b"\x00", "ordinary serialisation"
            if rows:
                self.values.append(list(self.stream.read(rows)))
        return rows, columns

    def exception(self) -> int:
        (code,) = struct.unpack("<i", self.stream.read(4))
        self.string(), self.string(), self.string(), self.stream.read(1)
        return code

    def progress(self) -> list[int]:
        return self.numbers(5 + (self.revision >= 54460) + (self.revision >= 54463))

    def profile_info(self) -> list[int]:
        found = self.numbers(3)
        self.stream.read(1), self.varint(), self.stream.read(1)
        return found

    def answer(self) -> dict[int, list[object]]:
        """All packets up to the end, by kind."""
        found: dict[int, list[object]] = {}
        while (kind := self.varint()) != END:
            read = {EXCEPTION: self.exception, PROGRESS: self.progress, PROFILE_INFO: self.profile_info}.get(kind)
            if read is None:
                rows, columns = self.head()
                found.setdefault(kind, []).append((rows, columns, self.values))
            else:
                found.setdefault(kind, []).append(read())
            if kind == EXCEPTION:
                return found
        return found


@contextmanager
def raw(node: NodeProcess, revision: int) -> Iterator[Raw]:
    with socket.create_connection(("127.0.0.1", node.native_port), 20) as connection:
        client = Raw(connection, revision)
        client.hello()
        yield client


REVISIONS = pytest.mark.parametrize("revision", [OLDEST, 54456, 54459, 54462, NEWEST, 54483])


@REVISIONS
def test_each_revision_is_spoken_as_it_is_described(node: NodeProcess, revision: int) -> None:
    known = min(revision, NEWEST)
    with socket.create_connection(("127.0.0.1", node.native_port), 20) as connection:
        client = Raw(connection, revision)
        client.revision = revision
        if revision > NEWEST:  # the newer client says what it knows, and then speaks what both know
            client.connection.sendall(
                varint(0) + string("raw") + varint(1) + varint(0) + varint(revision) + string("") + string("default")
            )
            connection.sendall(string(PASSWORD))
            client.revision = known
            assert client.varint() == 0
            assert [client.string(), *client.numbers(3)][3] == NEWEST
            client.string(), client.string(), client.numbers(2), client.stream.read(8)
            connection.sendall(string(""))
        else:
            assert client.hello()[3] == NEWEST
        client.query("SELECT number::UInt8 AS a, 7::UInt8 AS b FROM numbers(3)")
        found = client.answer()
        columns = [("a", "UInt8"), ("b", "UInt8")]
        assert found[DATA] == [(0, columns, []), (3, columns, [[0, 1, 2], [7, 7, 7]])]
        ((rows, blocks, size),) = found[PROFILE_INFO]
        assert (rows, blocks) == (3, 1)
        assert size > 6
        assert sum(told[0] for told in found[PROGRESS]) == 3
        client.query("SELECT * FROM nowhere.at_all")
        assert client.answer()[EXCEPTION] == [81]
        client.query("SELECT toDateTime(0, 'Asia/Tokyo') AS t WHERE 0")
        assert client.answer()[DATA] == [(0, [("t", "DateTime('Asia/Tokyo')")], [])]


@REVISIONS
def test_an_insert_is_in_step_at_each_revision(node: NodeProcess, database: str, revision: int) -> None:
    """From 54456 on a client waits for a packet after each of its blocks, and is told a failure at once."""
    node.native(database=database).execute(
        "CREATE TABLE t (a UInt8, b UInt8, CONSTRAINT small CHECK a < 100) ENGINE = MergeTree ORDER BY a"
    )
    flag = b"\x00" if revision >= 54454 else b""
    columns = [(string("a"), b"\x01\x02"), (string("b"), b"\x03\x04")]
    with raw(node, min(revision, NEWEST)) as client:
        for first in (b"\x01\x02", b"\xc8\xc9"):
            client.query(f"INSERT INTO {database}.t VALUES")
            assert client.varint() == DATA
            assert client.head() == (0, [("a", "UInt8"), ("b", "UInt8")])
            columns[0] = (string("a"), first)
            block = b"".join(name + string("UInt8") + flag + values for name, values in columns)
            client.connection.sendall(client.data(varint(2) + varint(2) + block))
            if revision >= 54456:
                assert client.varint() in {PROFILE_EVENTS, EXCEPTION}
                assert client.head() == (0, [])
            client.connection.sendall(client.data(varint(0) + varint(0)))
            kinds = client.answer()
            assert (EXCEPTION in kinds) == (first == b"\xc8\xc9")
        client.query("SELECT 1")
        assert client.answer()[DATA]
    assert node.native(database=database).execute("SELECT * FROM t ORDER BY a") == [(1, 3), (2, 4)]


def test_parameters_of_a_query_are_values_not_text(node: NodeProcess) -> None:
    client = node.native(settings={"server_side_params": True})
    text = "it's \\ a\ttab\n{x:String}"
    sql = "SELECT {text:String}, {number:UInt64}, {list:Array(String)}, {name:Identifier} FROM (SELECT 5 AS five)"
    values = {"text": text, "number": 2**64 - 1, "list": ["a'b", "c"], "name": "five"}
    assert client.execute(sql, values) == [(text, 2**64 - 1, ["a'b", "c"], 5)]
    with pytest.raises(ServerException) as failure:
        client.execute("SELECT {absent:UInt8}", {})
    assert failure.value.code == 456


def test_totals_and_extremes_arrive_as_such(node: NodeProcess) -> None:
    sql = "SELECT (number % 3)::UInt8 AS k, count()::UInt8 AS n FROM numbers(10) GROUP BY k WITH TOTALS ORDER BY k"
    columns = [("k", "UInt8"), ("n", "UInt8")]
    with raw(node, NEWEST) as client:
        client.query(sql, {"extremes": "1"})
        found = client.answer()
    assert found[DATA][1:] == [(3, columns, [[0, 1, 2], [4, 3, 3]])]
    assert found[TOTALS] == [(1, columns, [[0], [10]])]
    assert found[EXTREMES] == [(2, columns, [[0, 2], [3, 4]])]


def test_empty_texts_are_not_taken_for_the_line_before_the_totals(node: NodeProcess) -> None:
    sql = "SELECT arrayJoin(['', 'a\\n\\n', '']) AS s FROM numbers(1) GROUP BY s WITH TOTALS ORDER BY s"
    assert node.native().execute(sql) == [("",), ("a\n\n",), ("",)]  # the driver puts the totals last
    twice = "fromUnixTimestamp64Micro(1729989000123456, 'Europe/Berlin')"  # the clock shows this hour twice
    kept = f"SELECT {twice} AS t, 1.1 AS f, NULL::Nullable(Int8) AS n, count() AS c"
    plain, summed = (node.native().execute(f"{kept} GROUP BY t, f, n{more}") for more in ("", " WITH TOTALS"))
    assert summed[: len(plain)] == plain


@pytest.mark.parametrize("revision", [OLDEST, NEWEST])
def test_insert_select_tells_what_it_has_written(node: NodeProcess, revision: int) -> None:
    """Rows of the client's own are not told, as a ClickHouse server does not tell them either."""
    with raw(node, revision) as client:
        client.query("CREATE TEMPORARY TABLE written (a UInt64)")
        assert EXCEPTION not in client.answer()
        client.query("INSERT INTO written SELECT number FROM numbers(1000)")
        told = client.answer()[PROGRESS]
        client.query("INSERT INTO written VALUES (1)")
        assert PROGRESS not in client.answer()
    first = 3 + (revision >= 54463)
    assert [sum(one[place] for one in told) for place in (first, first + 1)] == [1000, 8000]


def test_a_long_query_tells_how_far_it_is(node: NodeProcess) -> None:
    with raw(node, NEWEST) as client:
        client.query("SELECT sum(sleepEachRow(0.01))::UInt8 FROM numbers(60) SETTINGS max_block_size = 10")
        told = client.answer()[PROGRESS]
    assert len(told) > 2, "not only at the end"
    rows, total, elapsed = (sum(one[place] for one in told) for place in (0, 2, 6))
    assert (rows, total) == (60, 60)
    assert elapsed >= 0.6e9


def test_the_time_zone_of_a_session_is_named(node: NodeProcess) -> None:
    client = node.native(settings={"session_timezone": "Asia/Tokyo"})
    (moment,) = client.execute("SELECT toDateTime('2024-01-01 00:00:00')")[0]
    assert moment.isoformat() == "2024-01-01T00:00:00"
    assert client.connection.server_info.session_timezone == "Asia/Tokyo"


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("JSON", ["""'{"a": 1, "b": {"c": "x"}, "d": [1, 2]}'""", "'{}'"]),
        ("JSON(max_dynamic_paths = 1, b UInt32, a String)", ["""'{"a": 5, "b": 1, "c": "y", "d": 0}'""", "'{}'"]),
        ("Dynamic", ["1", "'text'", "[1, 2]", "NULL"]),
        ("Dynamic(max_types = 1)", ["1", "'text'", "[1, 2]", "NULL"]),
        ("Variant(Array(UInt8), String, UInt64)", ["1", "'text'", "[1, 2]::Array(UInt8)", "NULL"]),
        ("Array(JSON)", ["""['{"a": 1}', '{"b": 2}']""", "[]"]),
        ("Map(String, Dynamic)", ["{'a': 1, 'b': 'x'}", "{}"]),
        ("Tuple(Variant(String, UInt8), JSON)", ["""(1, '{"a": 1}')"""]),
    ],
)
def test_columns_whose_values_have_types_of_their_own(
    node: NodeProcess, database: str, kind: str, values: list[str]
) -> None:
    """What stands behind such a column shows whether its end was found."""
    client = node.native(database=database)
    client.execute(f"CREATE TABLE t (n UInt8, v {kind}, after String) ENGINE = MergeTree ORDER BY n")
    rows = ", ".join(f"({n}, {value}, 'after')" for n, value in enumerate(values))
    client.execute(f"INSERT INTO t VALUES {rows}")
    sql = "SELECT * FROM t ORDER BY n FORMAT Native"
    answer = node.curl("--data-binary", sql, f"{node.url}?database={database}&client_protocol_version=54464").stdout
    plain = node.curl("--data-binary", sql, f"{node.url}?database={database}").stdout
    ends = string("after") + string("String") + b"\x00" + string("after") * len(values)
    assert answer.endswith(ends)
    assert len(answer) == len(BLOCK_INFO) + len(plain) + 3, "a byte a column"


def test_json_goes_in_and_comes_out(node: NodeProcess, database: str) -> None:
    client = node.native(database=database)
    client.execute("CREATE TABLE t (n UInt8, v JSON, after String) ENGINE = MergeTree ORDER BY n")
    rows = [(0, {"a": 1, "b": {"c": ["x", "y"]}}, "p"), (1, {"a": "text"}, "q")]
    client.execute("INSERT INTO t VALUES", rows)
    assert client.execute("SELECT * FROM t ORDER BY n") == rows


def test_a_state_between_other_columns_passes(node: NodeProcess) -> None:
    """Only the engine knows where a state ends: what follows it tells."""
    sql = "SELECT 1::UInt8 AS a, uniqState(number) AS s, 'x' AS b, sumState(number) AS c FROM numbers(9) FORMAT Native"
    answer = node.curl("--data-binary", sql, f"{node.url}?client_protocol_version=54464").stdout
    plain = node.curl("--data-binary", sql, node.url).stdout
    flags = 4
    assert len(answer) == len(BLOCK_INFO) + len(plain) + flags
    assert b"\x01b\x06String\x00\x01x\x01c" in answer


def test_a_state_whose_end_cannot_be_told_is_refused(node: NodeProcess) -> None:
    again = "concat(char(1), 'c', char(29), 'AggregateFunction(any, UInt8)')"
    sql = f"SELECT groupArrayState({again}) AS s, anyState(1) AS c FORMAT Native"
    answer = node.curl("--data-binary", sql, f"{node.url}?client_protocol_version=54464").stdout
    assert answer.startswith(b"Code: 48."), answer


def test_a_browser_at_the_native_port_is_told_where_it_is(node: NodeProcess) -> None:
    answer = node.curl("-i", f"http://127.0.0.1:{node.native_port}/?query=SELECT%201").stdout
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert b"native protocol" in answer
    assert b"`medallion status` prints it" in answer
