"""Statements are taken apart as the engine would read them: comments, quotes and data mislead nobody."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.embedded.clickhouse.errors import EngineError
from deploy.embedded.clickhouse.sql.policy import Policy, Role
from deploy.embedded.clickhouse.sql.statements import Kind, parse
from deploy.embedded.clickhouse.sql.tokens import scan


@pytest.mark.parametrize(
    ("sql", "kind", "text", "output_format", "rest"),
    [
        ("SELECT 1", Kind.READ, "SELECT 1", None, ""),
        ("select 1 format CSV;", Kind.READ, "select 1", "CSV", ""),
        ("SELECT 1 FORMAT CSV SETTINGS a = 1", Kind.READ, "SELECT 1", "CSV", "SETTINGS a = 1"),
        ("SELECT 'x' AS format -- FORMAT CSV", Kind.READ, "SELECT 'x' AS format", None, ""),
        ("SELECT format('{}', a) FROM t", Kind.READ, "SELECT format('{}', a) FROM t", None, ""),
        ("WITH 1 AS x SELECT x", Kind.READ, "WITH 1 AS x SELECT x", None, ""),
        ("WITH insert AS (SELECT 1) SELECT * FROM insert", Kind.READ, None, None, ""),
        ("WITH 13 AS insert SELECT insert", Kind.READ, "WITH 13 AS insert SELECT insert", None, ""),
        ("WITH x AS (SELECT 1) FROM insert SELECT 1 FORMAT CSV", Kind.READ, None, "CSV", ""),
        ("WITH 1 AS x INSERT INTO t FORMAT CSV\n'a;", Kind.INSERT, "WITH 1 AS x INSERT INTO t", "CSV", "'a;"),
        ("WITH x AS (SELECT 1) INSERT INTO t (a) VALUES (1);", Kind.INSERT, None, "Values", "(1);"),
        ("INSERT INTO t FORMAT Values (1)", Kind.INSERT, "INSERT INTO t", "Values", "(1)"),
        ("INSERT INTO t SELECT * FROM values('a Int8', 1)", Kind.COMMAND, None, None, ""),
        ("INSERT INTO t SELECT a FROM input('a Int8') FORMAT CSV\n1", Kind.INSERT, None, "CSV", "1"),
        ("WITH 1 AS x INSERT INTO t SELECT x", Kind.COMMAND, "WITH 1 AS x INSERT INTO t SELECT x", None, ""),
        ("INSERT INTO t SELECT 1", Kind.COMMAND, "INSERT INTO t SELECT 1", None, ""),
        ("INSERT INTO t (a) (SELECT 1)", Kind.COMMAND, "INSERT INTO t (a) (SELECT 1)", None, ""),
        ("INSERT INTO t (a) VALUES", Kind.INSERT, "INSERT INTO t (a)", "Values", ""),
        ("INSERT INTO `v`.`values` VALUES (1,';')", Kind.INSERT, "INSERT INTO `v`.`values`", "Values", "(1,';')"),
        ("INSERT INTO t SETTINGS a=1 FORMAT CSV\n'1;", Kind.INSERT, "INSERT INTO t", "CSV", "'1;"),
        ("INSERT INTO FUNCTION f('x (') FORMAT TSV\r\n 1", Kind.INSERT, "INSERT INTO FUNCTION f('x (')", "TSV", " 1"),
        ("/* a */ CREATE TABLE t (a Int8) ENGINE = Memory;", Kind.COMMAND, None, None, ""),
    ],
)
def test_a_statement_is_taken_apart(
    sql: str, kind: Kind, text: str | None, output_format: str | None, rest: str
) -> None:
    statement = parse(sql)
    assert statement.kind is kind
    assert text is None or statement.sql == text
    assert statement.output_format == output_format
    assert (statement.data if kind is Kind.INSERT else statement.suffix) == rest


@given(st.text(max_size=40), st.text(max_size=40))
def test_quoted_text_is_one_token_whatever_it_holds(left: str, right: str) -> None:
    literal = "'" + left.replace("\\", "\\\\").replace("'", "''") + "'"
    name = "`" + right.replace("\\", "\\\\").replace("`", "\\`") + "`"
    tokens = list(scan(f"SELECT {literal} /* ' */ AS {name} -- `"))
    assert [token.text for token in tokens] == ["SELECT", literal, "AS", name]


@given(st.text(max_size=80))
def test_any_text_is_scanned_in_order_or_refused(text: str) -> None:
    position = 0
    try:
        tokens = list(scan(text))
    except EngineError:
        return
    for token in tokens:
        assert token.start >= position
        assert text[token.start : token.end] == token.text
        position = token.end


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("1.5", ["1.5"]), ("1..2", ["1", ".", ".", "2"]), ("1.a", ["1", ".", "a"]), ("0.`1`", ["0", ".", "`1`"])],
)
def test_a_point_belongs_to_a_number_if_a_digit_follows(text: str, tokens: list[str]) -> None:
    """Of Python 3.11.2, which Debian 12 has, `re` misreads some patterns."""
    assert [token.text for token in scan(text)] == tokens


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE a (x Int8) ENGINE=Memory PARALLEL WITH CREATE TABLE b (x Int8) engine = /* */ `Kafka`",
        "create table b (x Int8) ENGINE Kafka()",
        "CREATE TABLE b (x Int8) ENGINE = `\\x4bafka`",
        "CREATE TABLE b (x Int8) ENGINE = \"K\\x61fka\" SETTINGS kafka_broker_list = 'b'",
        "CREATE TABLE b (x Int8) ENGINE = \u201cKafka\u201d",
        "ATTACH TABLE b (x Int8) ENGINE `S3Queue`('http://a/b', 'CSV')",
        "CREATE TABLE b (x Int8) ENGINE = {e:Identifier}",
        "CREATE DATABASE b ENGINE = Filesystem('/etc')",
        "SYSTEM/**/SHUTDOWN",
        "SYSTEM -- kill\nKILL",
        "DROP TABLE IF EXISTS t PARALLEL WITH SYSTEM SHUTDOWN",
        f"CREATE TABLE t ({', '.join(f'c{n} Int8' for n in range(100))}) ENGINE = Null PARALLEL WITH SYSTEM SHUTDOWN",
    ],
)
def test_harm_is_recognised_in_disguise(sql: str) -> None:
    with pytest.raises(EngineError) as failure:
        Policy().read(sql, Role.OPERATOR)
    assert failure.value.code in {48, 392}


def test_innocent_statements_pass() -> None:
    for sql in (
        "SELECT 'ENGINE = Kafka'",
        "SYSTEM FLUSH LOGS",
        "SELECT engine, kafka FROM t",
        "KILL QUERY WHERE 0",
        "SELECT url, s3, remote AS mysql FROM t WHERE t.file = 'file(x)'",
        "ALTER TABLE t UPDATE engine = 'x' WHERE engine = other",
        "INSERT INTO t VALUES ('file(''/etc/passwd'')')",
    ):
        Policy().read(sql, Role.OPERATOR)


# It compares times. Its sibling is `test_a_statement_that_is_hard_to_read_stops_nobody`.
@pytest.mark.nightly
@pytest.mark.parametrize(
    "piece",
    [
        "'\\",
        "`\\",
        '"\\',
        "(VALUES VALUES ",
        "INSERT INTO (FORMAT x ",
        "$a$",
        "/*",
        "/**/",
        "a b ",
        "--\n",
        "$1",
        "'a'",
    ],
)
def test_reading_a_statement_takes_time_in_proportion_to_it(piece: str) -> None:
    """`'\\` repeated took 22 s for 32 kB and 16 times that for 128 kB."""

    def seconds(size: int) -> float:
        text = "INSERT INTO t " + piece * (size // len(piece))
        started = time.process_time()
        with suppress(EngineError):
            Policy().read(text, Role.OPERATOR)
        return time.process_time() - started

    small = max(min(seconds(15_000) for _ in range(3)), 0.001)
    assert min(seconds(60_000) for _ in range(3)) < 12 * small
    assert small < 1


@pytest.mark.parametrize(
    "sql", ["INSERT INTO `d`.`t`_more (a) FORMAT CSV\n1", "INSERT INTO t more VALUES (1)", "INSERT INTO t u"]
)
def test_an_insert_into_what_is_no_table_is_no_insert_into_a_part_of_its_name(sql: str) -> None:
    """The rows went into `d`.`t`."""
    with pytest.raises(EngineError) as failure:
        parse(sql)
    assert failure.value.code == 62
