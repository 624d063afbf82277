"""A migration is split where ClickHouse ends a statement: no `;` of a comment, a text or a quoted name splits it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ddl.errors import MigrationError
from ddl.statements import ObjectKind, split

# What a migration consists of, each with a `;` that ends nothing, at the end of a line where it can be.
COMMENTS = ("-- first;\n", "--;\n", "-- it's;\n", "/* a;\n'b;\n */", "# it;\n", "-- /* no comment;\n")
TEXTS = ("'a;\n'", "'it''s;\n'", "'\\';\n'", "'-- b;\n'", '"na;\nme"', "`a``;\n`", "$x$ it's;\n $x$", "'/*;\n'", "''")
STATEMENTS = st.lists(st.sampled_from((*COMMENTS, *TEXTS, " 1 ", "\n", " / 2 ", " - 3 ")), max_size=6).map("".join)


@given(st.lists(STATEMENTS, min_size=1, max_size=4), st.lists(st.sampled_from(COMMENTS), max_size=3).map("".join))
@example(["-- ends;\n"], "")
@example(["'ends;\n'"], "-- the last line;\n")
def test_a_statement_ends_at_its_own_semicolon(bodies: list[str], rest: str) -> None:
    """Each comes back as it was written, without the comments before its first word."""
    text = "".join(f"{rest}SELECT {body};{end}" for body, end in zip(bodies, " \n\t\n" * 2, strict=False))
    assert [found.sql for found in split("0099", text + rest.rstrip())] == [f"SELECT {body}".strip() for body in bodies]


def test_comments_before_a_statement_do_not_hide_what_it_makes() -> None:
    (made,) = split("0099", "/* why;\n */ -- and\n CREATE TABLE db.t (a UInt8) ENGINE = Memory; -- a note")
    assert (made.kind, made.object) == (ObjectKind.TABLE, "t")


@pytest.mark.parametrize(
    "text", ["SELECT 1", "SELECT 1; SELECT 2 -- ;", "SELECT ';\n", "SELECT 1 /* ;\n", "/* /* ; */ */"]
)
def test_a_statement_without_its_end_is_refused(text: str) -> None:
    with pytest.raises(MigrationError, match=r"add it|close it"):
        split("0099", text)
