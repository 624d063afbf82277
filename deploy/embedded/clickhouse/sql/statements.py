"""Parses a SQL statement as far as the node needs: its kind, format and data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import pairwise
from typing import Protocol

from deploy.embedded.clickhouse.errors import SYNTAX_ERROR, refusal
from deploy.embedded.clickhouse.sql.tokens import Token, scan

_READING = frozenset({"SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "CHECK", "FROM", "("})
_HOOKED = frozenset({"DROP", "DETACH", "RENAME", "ATTACH", "EXCHANGE"})
_SOURCES = frozenset({"SELECT", "WITH", "WATCH", "INFILE"})
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")
# These may follow the table and the columns of an INSERT that does not have its rows yet.
_AFTER_TARGET = frozenset({"SETTINGS", "PARTITION"})
# `insert` after one of these is a name in an expression of WITH, not the keyword.
_BEFORE_A_NAME = frozenset({"AS", "WITH", ",", ".", "RECURSIVE"})
# Four times what the engine parses by default (max_query_size). The rows of an INSERT do not count.
MAX_STATEMENT = 1 << 20
VALUES = "Values"
# Compared without case. The engine refuses a setting's name in another case than its own.
_SUMMARIES = frozenset({("WITH", "TOTALS"), ("EXTREMES", "=")})


class StatementHook(Protocol):
    """Takes over statements about tables that the engine cannot have."""

    def handle(self, sql: str, database: str, execute: Callable[[str], None]) -> bool:
        """Run a statement through `execute`, in whatever form the engine can run. False if it is not the hook's.

        Args:
            sql: the statement, without a closing semicolon.
            database: the session's current database, for unqualified names.
            execute: runs a statement in the client's own engine session.
        """
        ...

    def after(self, words: Sequence[str], database: str) -> None:
        """Called after every other command or insert that ran, with its leading keywords and the session's database."""
        ...


class Kind(Enum):
    """How a statement moves data."""

    READ = auto()
    INSERT = auto()
    COMMAND = auto()


@dataclass(frozen=True)
class Statement:
    """A parsed statement.

    Attributes:
        sql: the text up to a trailing FORMAT clause, inline data or semicolon.
        kind: READ returns rows; INSERT takes rows from the client; COMMAND does neither.
        words: the leading keywords, upper case.
        output_format: FORMAT of a READ, or the input format of an INSERT; None if the statement has none.
        suffix: what follows FORMAT in a READ, or the target of an INSERT: its SETTINGS.
        data: inline rows of an INSERT, as they are written.
        table: the target of an INSERT, as it is written.
        columns: the column list of an INSERT with its parentheses; "" if it has none.
        input_call: start and end of `input(…)` in `sql`, if the SELECT of an INSERT reads the client's rows by it.
        input_structure: the argument of that call, as it is written.
        needs_hook: a `StatementHook` has to see it.
        reads_outside: it reads files or buckets, which the policy has allowed.
        asks_for_summaries: a READ with TOTALS or extremes.
        has_checked_data: the policy has also checked all of `data`.
    """

    sql: str
    kind: Kind
    words: tuple[str, ...]
    output_format: str | None = None
    suffix: str = ""
    data: str = ""
    table: str = ""
    columns: str = ""
    input_call: tuple[int, int] | None = None
    input_structure: str = ""
    needs_hook: bool = False
    reads_outside: bool = False
    asks_for_summaries: bool = False
    has_checked_data: bool = False

    @property
    def is_values(self) -> bool:
        """Whether the rows of an INSERT may be expressions. The case of a format's name does not matter."""
        return (self.output_format or VALUES).upper() == VALUES.upper()


def parse(sql: str) -> Statement:
    """Parse one statement.

    Raises:
        EngineError: as in `parse_with_tokens`.
    """
    return parse_with_tokens(sql)[0]


def parse_with_tokens(sql: str) -> tuple[Statement, Sequence[Token]]:
    """Parse one statement in one pass. Returns it with its tokens up to the rows of an INSERT.

    Raises:
        EngineError: 62 for an empty text, several statements, more than MAX_STATEMENT characters, or text that can be
            read in two ways (see `scan`).
    """
    tokens: list[Token] = []
    shape = _Shape()
    for token in scan(sql):
        if token.end > MAX_STATEMENT:
            reason = (
                f"Syntax error: Max query size exceeded ({MAX_STATEMENT} characters, without the rows of an INSERT)"
            )
            raise refusal(SYNTAX_ERROR, "SYNTAX_ERROR", reason)
        tokens.append(token)
        if shape.opens_inline_data(token):
            return _insert(sql, tokens, shape), tokens
    while tokens and tokens[-1].text == ";":
        tokens.pop()
    if not tokens:
        raise refusal(SYNTAX_ERROR, "SYNTAX_ERROR", "Syntax error: Empty query")
    if any(token.text == ";" for token in tokens):
        raise refusal(SYNTAX_ERROR, "SYNTAX_ERROR", "Syntax error (Multi-statements are not allowed)")
    words = _leading(tokens)
    if shape.insert_at is not None and (shape.input_at is not None or not shape.writes_a_query):
        return _insert(sql, tokens, shape), tokens
    if words[0] not in _READING or shape.insert_at is not None:
        needs_hook = words[0] in _HOOKED or any(token.upper == "ENGINE" for token in tokens)
        return Statement(sql[: tokens[-1].end], Kind.COMMAND, words, needs_hook=needs_hook), tokens
    return _read(sql, tokens, words), tokens


class _Shape:
    """What is known of a statement after each of its tokens.

    Attributes:
        insert_at: the number of the token INSERT, if the statement is one. WITH may come before it.
        input_at: the number of the token `input` that reads the client's rows in the query of an INSERT.
        writes_a_query: an INSERT that takes its rows from a query or from a file of the server.
    """

    def __init__(self) -> None:
        self.insert_at: int | None = None
        self.input_at: int | None = None
        self.writes_a_query = False
        self._depth = self._count = 0
        self._begins_with = ""
        self._before = ""
        self._is_reading = False

    def opens_inline_data(self, token: Token) -> bool:
        """Take the next token. Returns whether the rows of an INSERT begin after it."""
        upper = token.upper
        if token.text in _CLOSING:
            self._depth -= 1
        if self._count == 0:
            self._begins_with = upper
        found = False
        if self.insert_at is None:
            if self._is_insert(token):
                self.insert_at = self._count
            self._is_reading |= self._depth == 0 and upper in {"SELECT", "FROM"}
        else:
            found = self._opens_data_of_insert(token)
        if token.text in _OPENING:
            self._depth += 1
        self._count += 1
        self._before = upper
        return found

    def _is_insert(self, token: Token) -> bool:
        if token.upper != "INSERT" or self._depth:
            return False
        is_behind_with = self._begins_with == "WITH" and not self._is_reading
        return self._count == 0 or (is_behind_with and self._before not in _BEFORE_A_NAME)

    def _opens_data_of_insert(self, token: Token) -> bool:
        upper, before = token.upper, self._before
        if self.writes_a_query and before == "INPUT" and token.text == "(":
            self.input_at = self._count - 1
        takes_rows = self.input_at is not None or not self.writes_a_query
        found = False
        if self._depth == 0:
            if token.kind == "word" and self._count >= (self.insert_at or 0) + 2:
                is_values = upper == "VALUES" and before != "." and self.input_at is None
                found = takes_rows and (before == "FORMAT" or is_values)
            self.writes_a_query |= upper in _SOURCES
        elif self._depth == 1 and before == "(" and upper in {"SELECT", "WITH"}:
            self.writes_a_query = True
        return found


def _leading(tokens: Sequence[Token]) -> tuple[str, ...]:
    if tokens[0].text == "(":
        return ("(",)
    words = []
    for token in tokens[:4]:
        if token.kind != "word":
            break
        words.append(token.upper)
    return tuple(words) or (tokens[0].text,)


def _depths(tokens: Sequence[Token]) -> Iterator[tuple[int, Token]]:
    depth = 0
    for token in tokens:
        if token.text in _CLOSING:
            depth -= 1
        yield depth, token
        if token.text in _OPENING:
            depth += 1


def _insert(sql: str, tokens: list[Token], shape: _Shape) -> Statement:
    end, output_format, data = tokens[-1].end, None, ""
    if tokens[-2].upper == "FORMAT":
        end, output_format, data = tokens[-2].start, tokens[-1].text, sql[tokens[-1].end :]
    elif tokens[-1].upper == "VALUES":
        end, output_format, data = tokens[-1].start, "Values", sql[tokens[-1].end :]
    named = [token for token in tokens if token.end <= end]
    table, columns, target_end = _insert_target(sql, named, (shape.insert_at or 0) + 1)
    call, structure = _input_call(sql, named, shape.input_at)
    # With `input`, the query of the INSERT is a part of the statement. Without it, only SETTINGS or a PARTITION may
    # follow the target.
    statement_end = end if call else target_end
    following = next((token for token in named if token.start >= statement_end), None)
    if following is not None and following.upper not in _AFTER_TARGET:
        reason = (
            f"Syntax error: {following.text[:50]} stands where the rows, SETTINGS or the columns of an INSERT should"
        )
        raise refusal(SYNTAX_ERROR, "SYNTAX_ERROR", reason)
    return Statement(
        sql[:statement_end].rstrip(),
        Kind.INSERT,
        _leading(tokens),
        output_format,
        suffix=sql[statement_end:end].strip(),
        # One line break belongs to the statement, as on a server. The rest is the data, byte for byte.
        data=data.lstrip(" \t").removeprefix("\r").removeprefix("\n") if data.strip() else "",
        table=table,
        columns=columns,
        input_call=call,
        input_structure=structure,
    )


def _input_call(sql: str, tokens: Sequence[Token], at: int | None) -> tuple[tuple[int, int] | None, str]:
    """Where a call of `input` begins and ends, and what is in its parentheses."""
    if at is None:
        return None, ""
    closing = _closing(tokens, at + 1)
    start, end = tokens[at].start, tokens[closing - 1].end
    return (start, end), sql[tokens[at + 1].end : tokens[closing - 1].start].strip()


def _insert_target(sql: str, tokens: Sequence[Token], index: int) -> tuple[str, str, int]:
    """The table or function, the column list, and where the last of them ends. `index` is that after INSERT."""
    while index < len(tokens) and tokens[index].upper in {"INTO", "TABLE"}:
        index += 1
    is_function = index < len(tokens) and tokens[index].upper == "FUNCTION"
    first = index + 1 if is_function else index
    if first >= len(tokens):
        raise refusal(SYNTAX_ERROR, "SYNTAX_ERROR", "Syntax error: INSERT without a table")
    last = _end_of_name(tokens, first)
    if is_function:
        last = _closing(tokens, last)
    table = sql[tokens[first].start : tokens[last - 1].end]
    if last >= len(tokens) or tokens[last].text != "(":
        return table, "", tokens[last - 1].end
    closing = _closing(tokens, last)
    return table, sql[tokens[last].start : tokens[closing - 1].end], tokens[closing - 1].end


def _end_of_name(tokens: Sequence[Token], index: int) -> int:
    index += 1
    while index + 1 < len(tokens) and tokens[index].text == ".":
        index += 2
    return index


def _closing(tokens: Sequence[Token], index: int) -> int:
    depth = 0
    for position in range(index, len(tokens)):
        depth += (tokens[position].text == "(") - (tokens[position].text == ")")
        if depth == 0:
            return position + 1
    return len(tokens)


def _read(sql: str, tokens: Sequence[Token], words: tuple[str, ...]) -> Statement:
    end, output_format, suffix = tokens[-1].end, None, ""
    flat = [token for depth, token in _depths(tokens) if depth == 0]
    for position in range(len(flat) - 2, 0, -1):
        name = flat[position + 1]
        if flat[position].upper == "FORMAT" and name.kind == "word" and _ends_query(flat[position + 2 :]):
            suffix = sql[name.end : end].strip()
            end, output_format = flat[position].start, name.text
            break
    return Statement(
        sql[:end].rstrip(),
        Kind.READ,
        words,
        output_format,
        suffix,
        needs_hook=words[:2] == ("SHOW", "CREATE"),
        asks_for_summaries=any(pair in _SUMMARIES for pair in pairwise(token.upper for token in tokens)),
    )


def _ends_query(rest: Sequence[Token]) -> bool:
    return not rest or rest[0].upper in {"SETTINGS", "INTO"}
