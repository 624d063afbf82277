"""Statements are taken apart as the engine would read them: comments, quotes and data mislead nobody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.embedded.clickhouse.errors import EngineError
from deploy.embedded.clickhouse.statements import Kind, parse, refuse_harmful
from deploy.embedded.clickhouse.tokens import scan


@pytest.mark.parametrize(
    ("sql", "kind", "text", "output_format", "rest"),
    [
        ("SELECT 1", Kind.READ, "SELECT 1", None, ""),
        ("select 1 format CSV;", Kind.READ, "select 1", "CSV", ""),
        ("SELECT 1 FORMAT CSV SETTINGS a = 1", Kind.READ, "SELECT 1", "CSV", "SETTINGS a = 1"),
        ("SELECT 'x' AS format -- FORMAT CSV", Kind.READ, "SELECT 'x' AS format", None, ""),
        ("SELECT format('{}', a) FROM t", Kind.READ, "SELECT format('{}', a) FROM t", None, ""),
        ("WITH 1 AS x SELECT x", Kind.READ, "WITH 1 AS x SELECT x", None, ""),
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
def test_any_text_is_scanned_in_order_and_to_its_end(text: str) -> None:
    position = 0
    for token in scan(text):
        assert token.start >= position
        assert text[token.start : token.end] == token.text
        position = token.end


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE a (x Int8) ENGINE=Memory PARALLEL WITH CREATE TABLE b (x Int8) engine = /* */ `Kafka`",
        "create table b (x Int8) ENGINE Kafka()",
        "SYSTEM/**/SHUTDOWN",
    ],
)
def test_harm_is_recognised_in_disguise(sql: str) -> None:
    with pytest.raises(EngineError):
        refuse_harmful(sql)


def test_innocent_statements_pass() -> None:
    for sql in ("SELECT 'ENGINE = Kafka'", "SYSTEM FLUSH LOGS", "SELECT engine, kafka FROM t", "KILL QUERY WHERE 0"):
        refuse_harmful(sql)
