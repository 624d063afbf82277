"""What the node must know about a SQL statement before the engine sees it: its kind, format and data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import islice, pairwise
from typing import Protocol

from deploy.embedded.clickhouse.errors import (
    NOT_IMPLEMENTED,
    QUERY_IS_PROHIBITED,
    SYNTAX_ERROR,
    refusal,
)
from deploy.embedded.clickhouse.tokens import Token, scan

_READING = frozenset({"SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "CHECK", "FROM", "("})
_HOOKED = frozenset({"DROP", "DETACH", "RENAME", "ATTACH", "EXCHANGE"})
# Their threads do not run inside chDB: CREATE fails and leaves metadata with which the store does not open again.
_BROKER_ENGINES = frozenset({"KAFKA", "RABBITMQ", "NATS", "FILELOG", "S3QUEUE", "AZUREQUEUE"})


class StatementHook(Protocol):
    """Takes over statements about tables that the engine cannot hold."""

    def handle(self, sql: str, database: str, execute: Callable[[str], None]) -> bool:
        """True when the statement was taken care of (what it needed was run through `execute`).

        Args:
            sql: the statement, without a closing semicolon.
            database: the session's current database, for unqualified names.
            execute: runs a statement in the client's own engine session.
        """
        ...

    def after(self, words: Sequence[str]) -> None:
        """Told of every other command that ran, by its leading keywords."""
        ...


class Kind(Enum):
    """How a statement moves data."""

    READ = auto()
    INSERT = auto()
    COMMAND = auto()


@dataclass(frozen=True)
class Statement:
    """A statement taken apart.

    Attributes:
        sql: the text up to a trailing FORMAT clause, inline data or semicolon.
        kind: READ returns rows; INSERT takes rows from the client; COMMAND does neither.
        words: the leading keywords, upper case.
        output_format: FORMAT of a READ or the input format of an INSERT, None where the statement has none.
        suffix: what follows FORMAT in a READ, or the target of an INSERT: its SETTINGS.
        data: inline rows of an INSERT, as they stand in the text.
        table: the target of an INSERT, as it stands in the text.
        columns: the column list of an INSERT with its parentheses, "" if it has none.
    """

    sql: str
    kind: Kind
    words: tuple[str, ...]
    output_format: str | None = None
    suffix: str = ""
    data: str = ""
    table: str = ""
    columns: str = ""
    needs_hook: bool = False
    broker_engine: str | None = None


def parse(sql: str) -> Statement:
    """Take one statement apart.

    Raises:
        EngineError: 62 for an empty text or several statements at once.
    """
    tokens: list[Token] = []
    for token in scan(sql):
        tokens.append(token)
        if _opens_inline_data(tokens):
            return _insert(sql, tokens)
    while tokens and tokens[-1].text == ";":
        tokens.pop()
    if not tokens:
        raise refusal(SYNTAX_ERROR, "SYNTAX_ERROR", "Syntax error: Empty query")
    if any(token.text == ";" for token in tokens):
        raise refusal(SYNTAX_ERROR, "SYNTAX_ERROR", "Syntax error (Multi-statements are not allowed)")
    words = _leading(tokens)
    engine = _broker_engine(tokens)
    if words[0] == "INSERT" and not _writes_a_query(tokens):
        return _insert(sql, tokens)
    if words[0] not in _READING or (words[0] == "WITH" and _is_insert(tokens)):
        return Statement(
            sql[: tokens[-1].end],
            Kind.COMMAND,
            words,
            needs_hook=engine is not None or words[0] in _HOOKED,
            broker_engine=engine,
        )
    return _read(sql, tokens, words)


def refuse_harmful(sql: str) -> None:
    """Refuse what would stop the process or break the store.

    `SYSTEM SHUTDOWN` and `SYSTEM KILL` signal the whole process group.

    Raises:
        EngineError: 392 for those two, 48 for a message-broker table engine.
    """
    upper = sql.upper()
    if "SYSTEM" in upper and ("SHUTDOWN" in upper or "KILL" in upper):
        tokens = list(islice(scan(sql), 64))
        for first, second in pairwise(tokens):
            if first.upper == "SYSTEM" and second.upper in {"SHUTDOWN", "KILL"}:
                reason = f"SYSTEM {second.upper} is not available here. Stop the node with SIGTERM instead."
                raise refusal(QUERY_IS_PROHIBITED, "QUERY_IS_PROHIBITED", reason)
    if "ENGINE" in upper and any(name in upper for name in _BROKER_ENGINES):
        refuse_broker_engine(_broker_engine(list(scan(sql))))


def refuse_broker_engine(engine: str | None) -> None:
    """Refuse a table engine that reads a message broker.

    Raises:
        EngineError: 48, unless `engine` is None.
    """
    if engine is not None:
        reason = (
            f"Table engine {engine} does not run inside the embedded node. "
            "Start the node with --kafka-brokers to have Kafka tables stood in for, or use a ClickHouse server."
        )
        raise refusal(NOT_IMPLEMENTED, "NOT_IMPLEMENTED", reason)


def _leading(tokens: Sequence[Token]) -> tuple[str, ...]:
    if tokens[0].text == "(":
        return ("(",)
    words = []
    for token in tokens[:4]:
        if token.kind != "word":
            break
        words.append(token.upper)
    return tuple(words) or (tokens[0].text,)


def _broker_engine(tokens: Sequence[Token]) -> str | None:
    for index, token in enumerate(tokens):
        if token.upper != "ENGINE":
            continue
        after = [following for following in tokens[index + 1 : index + 3] if following.text != "="]
        if after and after[0].text.strip('`"').upper() in _BROKER_ENGINES:
            return after[0].text.strip('`"')
    return None


def _depths(tokens: Sequence[Token]) -> Iterator[tuple[int, Token]]:
    depth = 0
    for token in tokens:
        if token.text in {")", "]", "}"}:
            depth -= 1
        yield depth, token
        if token.text in {"(", "[", "{"}:
            depth += 1


def _is_insert(tokens: Sequence[Token]) -> bool:
    return any(depth == 0 and token.upper == "INSERT" for depth, token in _depths(tokens))


def _writes_a_query(tokens: Sequence[Token]) -> bool:
    """Whether an INSERT takes its rows from a query or a file of the server's."""
    sources = {"SELECT", "WITH", "WATCH", "INFILE"}
    if any(depth == 0 and token.upper in sources for depth, token in _depths(tokens)):
        return True
    opened = [index for index, (depth, token) in enumerate(_depths(tokens)) if depth == 0 and token.text == "("]
    return any(tokens[index + 1].upper in {"SELECT", "WITH"} for index in opened if index + 1 < len(tokens))


def _opens_inline_data(tokens: Sequence[Token]) -> bool:
    """Whether the rows of an INSERT begin after the last of these tokens."""
    if tokens[0].upper != "INSERT" or len(tokens) < 3 or tokens[-1].kind != "word":
        return False
    if tokens[-1].upper == "VALUES":
        return tokens[-2].text != "." and _depth(tokens) == 0
    return tokens[-2].upper == "FORMAT" and _depth(tokens) == 0 and not _writes_a_query(tokens)


def _depth(tokens: Sequence[Token]) -> int:
    opened = sum(token.text in {"(", "[", "{"} for token in tokens)
    return opened - sum(token.text in {")", "]", "}"} for token in tokens)


def _insert(sql: str, tokens: list[Token]) -> Statement:
    end, output_format, data = tokens[-1].end, None, ""
    if tokens[-1].upper == "VALUES":
        end, output_format, data = tokens[-1].start, "Values", sql[tokens[-1].end :]
    elif tokens[-2].upper == "FORMAT":
        end, output_format, data = tokens[-2].start, tokens[-1].text, sql[tokens[-1].end :]
    table, columns, target_end = _insert_target(sql, [token for token in tokens if token.end <= end])
    return Statement(
        sql[:target_end],
        Kind.INSERT,
        _leading(tokens),
        output_format,
        suffix=sql[target_end:end].strip(),
        # One line break belongs to the statement, as on a server; the rest is the data, byte for byte.
        data=data.lstrip(" \t").removeprefix("\r").removeprefix("\n") if data.strip() else "",
        table=table,
        columns=columns,
    )


def _insert_target(sql: str, tokens: Sequence[Token]) -> tuple[str, str, int]:
    """The table or function, the column list, and where the later of them ends."""
    index = 1
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
        sql[:end].rstrip(), Kind.READ, words, output_format, suffix, needs_hook=words[:2] == ("SHOW", "CREATE")
    )


def _ends_query(rest: Sequence[Token]) -> bool:
    return not rest or rest[0].upper in {"SETTINGS", "INTO"}
