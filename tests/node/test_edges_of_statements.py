"""Where a client's text or bytes become part of a statement of the node's: nothing is lost, and nothing gets past."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.embedded.clickhouse.errors import EngineError
from deploy.embedded.clickhouse.native_format.packets import BLOCK_INFO, string, varint
from deploy.embedded.clickhouse.native_format.results import ResultBlocks
from deploy.embedded.clickhouse.native_format.skipper import layout_of
from tests.node.conftest import NodeProcess
from tests.node.hostile import NEWEST, column, data, hello, query, talk


def test_the_settings_of_an_insert_hold(node: NodeProcess, database: str) -> None:
    client = node.native(database=database)
    client.execute(
        "CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 9"
    )
    for token in ("one", "two", "two"):
        client.execute(f"INSERT INTO t SETTINGS insert_deduplication_token = '{token}' VALUES", [(1,)])
        sql = f"INSERT INTO t SETTINGS insert_deduplication_token = 'http {token}' FORMAT TSV\n1\n"
        assert node.curl("--data-binary", sql, f"{node.url}?database={database}").stdout == b""
    assert client.execute("SELECT count() FROM t") == [(4,)]


@pytest.mark.parametrize(
    "name", ["input_format_values_interpret_expressions", "`input_format_values_interpret_expressions`"]
)
def test_rows_that_stream_in_stay_values(node: NodeProcess, database: str, name: str) -> None:
    """A body is longer than what the policy sees of it, so its expressions may not run, whatever the statement says."""
    node.native(database=database).execute("CREATE TABLE t (a String) ENGINE = MergeTree ORDER BY a")
    insert = f"INSERT INTO t SETTINGS {name} = 1 VALUES"
    rows = ",".join(["('x')"] * 300_000) + ",(file('/etc/hostname'))"
    answer = node.curl(
        "--data-binary", "@-", f"{node.url}?database={database}&query={insert.replace(' ', '%20')}", data=rows.encode()
    )
    assert b"Code: 497." in answer.stdout
    assert node.native(database=database).execute("SELECT count() FROM t") == [(0,)]


@pytest.mark.parametrize(
    "kind",
    [
        "UInt8) ENGINE = Memory AS SELECT toUInt8(file('/etc/hostname')) AS c --",
        "UInt8) ENGINE = Memory AS SELECT 1 AS a --",
        "String DEFAULT Date(file('/etc/hostname'))",
        "String DEFAULT file('/etc/hostname')",
    ],
)
@pytest.mark.parametrize("rows", [0, 1])
def test_the_type_of_a_column_is_no_way_into_a_statement(node: NodeProcess, kind: str, rows: int) -> None:
    secret = Path("/etc/hostname").read_bytes().strip()
    nothing = data(BLOCK_INFO + varint(0) + varint(0))
    table = varint(2) + string("x") + column(kind, rows, b"\x01a" if rows else b"")
    answer = talk(node.native_port, hello() + query("SELECT * FROM x").removesuffix(nothing) + table + nothing)
    assert b"DB::Exception" in answer
    assert secret not in answer


def test_totals_keep_nulls_booleans_and_equal_names(node: NodeProcess) -> None:
    settings = {"format_tsv_null_representation": "none", "bool_true_representation": "yes", "extremes": "0"}
    client = node.native(settings=settings)
    sql = (
        "SELECT k % 2 AS odd, if(k % 2, 'none', NULL) AS v, true AS b, count(), count() "
        "FROM (SELECT number AS k FROM numbers(5)) GROUP BY odd, v, b WITH TOTALS ORDER BY odd"
    )
    assert client.execute(sql)[:2] == [(0, None, True, 3, 3), (1, "none", True, 2, 2)]
    assert client.execute("SELECT count() AS totals, max(number) AS extremes FROM numbers(3)") == [(3, 2)]


@pytest.mark.parametrize(
    "kept",
    [
        "NULL AS v",
        "[] AS v, [NULL] AS w, map() AS x",
        "(INTERVAL 1 DAY, NULL) AS v",
        "toLowCardinality(7) AS v, [toLowCardinality(7::Nullable(UInt8))] AS w",
        "toFixedString('a', 300) AS v",
    ],
)
def test_totals_have_columns_of_types_that_no_table_has(node: NodeProcess, kept: str) -> None:
    plain, summed = (
        node.native().execute(f"SELECT {kept}, count() FROM numbers(2) GROUP BY ALL{more}")
        for more in ("", " WITH TOTALS")
    )
    assert summed[: len(plain)] == plain
    assert len(summed) == len(plain) + 1


def test_a_large_result_with_totals_is_whole(node: NodeProcess) -> None:
    """It is read in several pieces, and keeps its order."""
    rows = node.native().execute(
        "SELECT number, toString(number) AS s FROM numbers(200000) GROUP BY ALL WITH TOTALS ORDER BY number"
    )
    assert rows[:-1] == [(number, str(number)) for number in range(200_000)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT processes.query_id = query_id FROM system.processes LIMIT 1",
        "SELECT p.query_id = query_id FROM system.processes p LIMIT 1",
        "SELECT p.query_id = query_id FROM system.processes AS p WHERE 1 LIMIT 1",
        "SELECT count() > 0 FROM (SELECT 1) AS one, system.processes",
        "SELECT system.processes.query_id = query_id FROM system.processes ORDER BY system.processes.elapsed LIMIT 1",
        "EXISTS TABLE system.processes",
    ],
)
def test_running_queries_are_asked_for_in_any_way(node: NodeProcess, sql: str) -> None:
    assert node.native().execute(sql) == [(1,)]


@pytest.mark.parametrize("name", ["session_timeout", "client_protocol_version"])
@pytest.mark.parametrize("value", ["%C2%B2", "9" * 5_000, "-1", "x"])
def test_a_number_that_is_none_is_no_fault_of_the_node(node: NodeProcess, name: str, value: str) -> None:
    answer = node.curl("--data-binary", "SELECT 1", "--write-out", "%{http_code}", f"{node.url}?{name}={value}")
    assert answer.stdout == b"1\n200"


@pytest.mark.parametrize(
    "body", [b"", b"garbage", b'--b\r\nContent-Disposition: form-data; name="query"\r\n\r\nSELECT']
)
@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=b"])
def test_a_form_that_cannot_be_read_is_refused(node: NodeProcess, kind: str, body: bytes) -> None:
    answer = node.curl(
        "--header", f"Content-Type: {kind}", "--data-binary", "@-", "--write-out", "%{http_code}", node.url, data=body
    )
    assert answer.stdout[-3:] in {b"400", b"200"}, answer.stdout
    assert b"Traceback" not in answer.stdout


def test_a_path_that_is_declared_twice_is_a_type_like_any() -> None:
    layout_of("JSON(a UInt8, a UInt8)")


def test_values_that_look_like_columns_are_given_up_soon() -> None:
    """Each false head doubles the ways to read the block; nothing of it ends where the block does."""
    kind = "AggregateFunction(any, String)"
    head = string("a") + string(kind)
    block = varint(8) + varint(1) + head * 200 + string("z") + string("UInt8") + b"\x01\x02"
    described = [("a", kind)] * 7 + [("z", "UInt8")]
    with pytest.raises(EngineError) as failure:
        ResultBlocks(block, lambda: described, NEWEST)
    assert failure.value.code == 48
