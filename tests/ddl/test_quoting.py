"""Any text comes back from the server as it was given, as a literal, a name and a parameter."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from config.settings import Settings
from ddl.quoting import quote_name, quote_string
from ddl.render import MIGRATIONS_FOLDER, render_template
from offload.clickhouse.client import server_side
from tests.ddl.engine import Engine

ODD = "'\"`\\%s %(a)s {b:String} {{ c }} \n\t\r\0\b?ü日\U0001f600 -- /* $x$"
ROOT = Path(__file__).resolve().parents[2]
ROOMS = [
    path
    for package in ("series", "silver_processor", "offload", "serving", "cli")
    for path in sorted((ROOT / package).glob("**/sql/**/*.sql"))
]


@given(st.lists(st.text(), min_size=1))
@example([ODD])
@settings(max_examples=50)
def test_a_literal_is_the_text(engine: Engine, texts: list[str]) -> None:
    sql = f"SELECT arrayMap(text -> hex(text), [{', '.join(quote_string(text) for text in texts)}])"
    assert engine.execute(sql) == [[[text.encode().hex().upper() for text in texts]]]


@given(st.text(min_size=1))
@example(ODD)
@settings(max_examples=50)
def test_a_name_is_the_text(engine: Engine, text: str) -> None:
    kind = quote_string(f"Tuple({quote_name(text)} UInt8)")
    sql = f"SELECT hex(name) FROM (SELECT arrayJoin(tupleNames(CAST(tuple(1), {kind}))) AS name)"
    assert engine.execute(sql) == [[text.encode().hex().upper()]]


def test_the_runner_compares_and_notes_any_statement(engine: Engine) -> None:
    left = f"CREATE TABLE t (a String) ENGINE = Null COMMENT {quote_string(ODD)}"
    sql = render_template(Settings(), "_same_sql.sql", left=left, right=left.replace(" (", "\n("))
    assert engine.execute(sql) == [[1]]


@pytest.mark.parametrize("path", [*ROOMS, *MIGRATIONS_FOLDER.glob("*.sql")], ids=str)
def test_no_sql_is_formatted_as_text(path: Path) -> None:
    """What a client library would put in by formatting, or a template between quotes of its own."""
    text = path.read_text(encoding="utf-8")
    assert "%(" not in text
    assert "'{{" not in text


@given(st.dictionaries(st.sampled_from(["key", "from_us", "to_us"]), st.integers()), st.text())
def test_only_what_the_sql_names_is_a_parameter(parameters: dict[str, int], path: str) -> None:
    """With none left the text goes to the server as it is."""
    assert server_side(f"SELECT * FROM file({quote_string(path)})", parameters) is None or "{" in path
    named = server_side("SELECT {key:Int64}", parameters)
    assert named == ({"key": parameters["key"]} if "key" in parameters else None)
