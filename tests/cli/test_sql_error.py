"""Invariant: a wrong statement is answered with what is wrong and where, in a few lines; nothing points beside it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.messages.sql_error import brief


def answer(code: int, words: str, name: str, version: str = " (version 26.9.1.1 (official build))") -> str:
    return f"Code: {code}. DB::Exception: {words} ({name}){version}"


@pytest.mark.parametrize(
    ("sql", "said", "expected"),
    [
        (
            "SELEC 1",
            answer(
                62,
                "Syntax error: failed at position 1 (SELEC): SELEC 1. Maybe you meant: SELECT. Expected one of: Query,"
                " SHOW [FULL] [TEMPORARY] TABLES|DATABASES 'name', EXISTS.",
                "SYNTAX_ERROR",
            ),
            "Syntax error at 'SELEC'. Maybe you meant: SELECT (SYNTAX_ERROR, code 62), line 1, column 1:\n"
            "  SELEC 1\n  ^",
        ),
        (
            "SELECT 1,\n 2 FORM x",
            answer(
                62,
                "Syntax error: failed at position 19 (x) (line 2, col 9): x\nINTO OUTFILE '/proc/self/fd/280' TRUNCATE "
                "FORMAT TabSeparated . Expected one of: token, Comma, FROM.",
                "SYNTAX_ERROR",
                "",
            ),
            "Syntax error at 'x' (SYNTAX_ERROR, code 62), line 2, column 9:\n   2 FORM x\n          ^",
        ),
        (
            "SELECT (1",
            answer(
                62,
                "Syntax error: failed at position 11 (INTO) (line 2, col 1): INTO OUTFILE '/proc/self/fd/280'. "
                "Unmatched parentheses: '(' at position 8 (line 1, col 8) is never closed.",
                "SYNTAX_ERROR",
            ),
            "Syntax error: '(' is never closed (SYNTAX_ERROR, code 62), line 1, column 8:\n  SELECT (1\n         ^",
        ),
        (
            "SELECT 1 +\n",
            answer(62, "Syntax error: failed at position 12 (INTO) (line 2, col 1): INTO OUTFILE 'x'.", "SYNTAX_ERROR"),
            "Syntax error: the statement ends too early (SYNTAX_ERROR, code 62), line 1, column 11:\n"
            "  SELECT 1 +\n            ^",
        ),
        (
            "SELECT 'ü', é é FROM x",  # bytes and characters differ
            answer(62, "Unrecognized token: Syntax error: failed at position 14 (é) (line 1, col 14): é é FROM x", "S"),
            "Syntax error at 'é' (code 62), line 1, column 13:\n  SELECT 'ü', é é FROM x\n              ^",
        ),
        (
            "SELECT side,\n\tfoo\nFROM silver_trades",
            answer(
                47,
                "Unknown expression identifier `foo`. In scope SELECT side, foo FROM silver_trades.",
                "UNKNOWN_IDENTIFIER",
            ),
            "Unknown expression identifier `foo` (UNKNOWN_IDENTIFIER, code 47), line 2, column 2:\n   foo\n   ^",
        ),
        (
            "SELECT * FROM silver_trade",
            answer(
                60,
                "Unknown table expression identifier 'silver_trade'. Maybe you meant medallion.silver_trades? In scope "
                "SELECT * FROM silver_trade.",
                "UNKNOWN_TABLE",
            ),
            "Unknown table expression identifier 'silver_trade'. Maybe you meant medallion.silver_trades? "
            "(UNKNOWN_TABLE, code 60), line 1, column 15:\n  SELECT * FROM silver_trade\n                ^",
        ),
        (
            "SELECT 1; SELECT 2",
            answer(62, "Syntax error (Multi-statements are not allowed)", "SYNTAX_ERROR"),
            "Syntax error (Multi-statements are not allowed) (SYNTAX_ERROR, code 62)",
        ),
        ("SELECT 1", "502 Bad Gateway", "502 Bad Gateway"),
    ],
)
def test_the_first_line_and_the_place(sql: str, said: str, expected: str) -> None:
    assert brief(said, sql) == expected


@given(
    st.text(max_size=300),
    st.sampled_from(["failed at position {} (x): x", "Unmatched parentheses: '(' at position {} (line 1)"]),
    st.integers(0, 2_000),
)
def test_any_statement_and_position_gives_a_short_answer_that_points_into_it(sql: str, words: str, at: int) -> None:
    said = brief(answer(62, "Syntax error: " + words.format(at), "SYNTAX_ERROR"), sql)
    first, _, rest = said.partition("\n")
    assert len(said) < 500
    if rest:
        found = re.search(r"line (\d+), column (\d+):$", first)
        assert found is not None
        line = sql.replace("\r", "\n").split("\n")[int(found[1]) - 1]
        assert 1 <= int(found[2]) <= len(line) + 1


def test_blanks_in_a_quoted_statement_cost_time_in_proportion_to_them() -> None:
    """A pattern that tries every split of them takes hours for these."""
    words = "Unknown expression identifier `x`. In scope SELECT '" + " " * 100_000 + "', x."
    assert brief(answer(47, words, "UNKNOWN_IDENTIFIER"), "SELECT x").startswith("Unknown expression identifier `x` (")
