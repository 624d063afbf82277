"""What a client's SQL may do. The policy checks every token of a statement before the engine sees it.

The engine's grants (`node-users.xml`) allow no source outside the database, and nothing that stops the process. The
policy covers what grants cannot express: paths, `file` as a scalar function, INTO OUTFILE and FROM INFILE (the engine
asks no grant for them), and other users' queries.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

from deploy.embedded.clickhouse.errors import (
    ACCESS_DENIED,
    NOT_IMPLEMENTED,
    PATH_ACCESS_DENIED,
    QUERY_IS_PROHIBITED,
    SYNTAX_ERROR,
    EngineError,
    refusal,
)
from deploy.embedded.clickhouse.sql.outside import (
    BROKER_ENGINES,
    ENGINES,
    ICEBERG_OF_A_BUCKET,
    ICEBERG_OF_A_FOLDER,
    OUTSIDE,
    SYSTEM_TABLES_OF_ANALYSTS,
)
from deploy.embedded.clickhouse.sql.statements import Kind, Statement, parse_with_tokens
from deploy.embedded.clickhouse.sql.tokens import Token, scan, unquote

_GLOB = frozenset("*?{}[]")
_CREATING = frozenset({"CREATE", "ATTACH", "REPLACE"})
_STATE_OF_A_SESSION = frozenset({"SET", "USE"})
# Functions that may read a folder or a bucket which the node was started with.
_OF_FILES = frozenset({"file", "s3", *ICEBERG_OF_A_FOLDER, *ICEBERG_OF_A_BUCKET})
_OF_A_BUCKET = frozenset({"s3", *ICEBERG_OF_A_BUCKET})
_OUTSIDE_WORD = re.compile(rf"\b(?:{'|'.join(sorted(OUTSIDE))})\b")
_QUOTE = re.compile('["`\u201c]')


class Role(Enum):
    """Who sends a statement. The value is the name of the engine's role."""

    OPERATOR = "operator"
    ANALYST = "analyst"


@dataclass(frozen=True)
class Policy:
    """The rules for statements of a node's clients.

    Attributes:
        folders: `file` and `icebergLocal` may read below them. Symbolic links are resolved before a path is compared.
        buckets: URLs below which `s3` and `icebergS3` may read. One without a port allows every port of its host.
        has_kafka: whether the node has a stand-in for Kafka tables.
    """

    folders: tuple[Path, ...] = ()
    buckets: tuple[str, ...] = ()
    has_kafka: bool = False

    def read(self, sql: str, role: Role, *, is_whole: bool = True) -> Statement:
        """Parse a client's statement and admit it.

        Args:
            sql: the statement, with the rows of an INSERT as far as they are known.
            role: who sends it.
            is_whole: whether `sql` has all rows of an INSERT.

        Raises:
            EngineError: 62 for text that cannot be parsed, 392 for a statement that stops or harms the node, 48 for a
                table engine that does not run here, 497 or 481 for what this user may not do or read.
        """
        statement, tokens = parse_with_tokens(sql)
        if role is Role.ANALYST:
            _keep_to_reading(statement, tokens)
        _refuse_pairs(tokens)
        if statement.kind is Kind.COMMAND and any(token.upper in _CREATING for token in tokens):
            self._check_engines(tokens)
            _refuse_attaching_a_folder(tokens)
        reads_outside = self._check_names(tokens, role)
        if statement.is_values and statement.data and is_whole and self._is_plain(statement.data, role):
            return replace(statement, reads_outside=reads_outside, has_checked_data=True)
        return replace(statement, reads_outside=True) if reads_outside else statement

    def _is_plain(self, data: str, role: Role) -> bool:
        """Whether the rows of an INSERT name nothing outside the database. Their values may be expressions."""
        if _OUTSIDE_WORD.search(data) is None and not ("\\" in data and _QUOTE.search(data)):
            return True
        try:
            return not self._check_names(list(scan(data)), role)
        except EngineError as error:
            if error.code != SYNTAX_ERROR:
                raise
            return False

    def _check_engines(self, tokens: Sequence[Token]) -> None:
        for index, token in enumerate(tokens):
            if token.upper != "ENGINE":
                continue
            after = index + 1 + (index + 1 < len(tokens) and tokens[index + 1].text == "=")
            named = tokens[after] if after < len(tokens) else None
            if named is None or named.kind in {"string", "number"} or (named.kind == "sign" and named.text != "{"):
                continue  # a column of that name
            if named.name in ENGINES or (self.has_kafka and named.upper == "KAFKA"):
                continue
            raise _no_such_engine(named)

    def _check_names(self, tokens: Sequence[Token], role: Role) -> bool:
        """Refuse names that reach outside the database without permission. Returns whether there is one with it."""
        reads_outside = False
        for index, token in enumerate(tokens):
            name = token.name
            if not name or name not in OUTSIDE:
                continue
            is_called = index + 1 < len(tokens) and tokens[index + 1].text == "("
            if not is_called and name != "file":
                continue  # a column or table of that name; `file` without brackets can still be a function, as in APPLY
            if not is_called and index and tokens[index - 1].text == ".":
                continue
            into = index > 0 and tokens[index - 1].upper == "FUNCTION"
            if not is_called or into or name not in _OF_FILES or role is not Role.OPERATOR:
                raise _outside(name)
            self._check_place(name, tokens[index + 2 : index + 4])
            reads_outside = True
        return reads_outside

    def _check_place(self, name: str, arguments: Sequence[Token]) -> None:
        """Refuse a function whose first argument is not a plain string that names an allowed place."""
        if len(arguments) < 2 or arguments[0].text[0] != "'" or arguments[1].text not in {",", ")"}:
            raise _outside(name)
        place = unquote(arguments[0].text)
        if not self._is_allowed(name, place):
            reason = f"{name} may not read '{place}': it is not in a folder or bucket that this node was started with"
            raise refusal(PATH_ACCESS_DENIED, "PATH_ACCESS_DENIED", reason)

    def _is_allowed(self, name: str, place: str) -> bool:
        if "::" in place or "\0" in place or ".." in place.split("/"):
            return False
        if name in _OF_A_BUCKET:
            return any(_is_in_bucket(place, bucket) for bucket in self.buckets)
        paths = _alternatives(place)
        return bool(paths) and all(self._is_below(Path(path)) for path in paths)

    def _is_below(self, path: Path) -> bool:
        return path.is_absolute() and any(path.resolve().is_relative_to(folder) for folder in self.folders)


def _is_in_bucket(place: str, bucket: str) -> bool:
    """Whether a URL lies below a bucket's URL. A bucket without a port stands for every port of its host."""
    asked, allowed = urlsplit(place), urlsplit(bucket)
    try:
        is_same_port = allowed.port in {None, asked.port}
    except ValueError:
        return False
    is_same_host = asked.scheme == allowed.scheme and asked.hostname == allowed.hostname and "@" not in asked.netloc
    return is_same_host and is_same_port and asked.path.startswith(f"{allowed.path.rstrip('/')}/")


def _refuse_pairs(tokens: Sequence[Token]) -> None:
    """Refuse forbidden pairs of words, wherever they stand in a statement."""
    for first, second in pairwise(tokens):
        if second.kind != "word":
            continue
        pair = (first.upper, second.upper)
        if pair[0] == "SYSTEM" and pair[1] in {"SHUTDOWN", "KILL", "SUSPEND"}:
            reason = f"SYSTEM {pair[1]} is not available here. Stop the node with SIGTERM instead."
            raise refusal(QUERY_IS_PROHIBITED, "QUERY_IS_PROHIBITED", reason)
        if pair in {("SET", "ROLE"), ("DEFAULT", "ROLE"), ("EXECUTE", "AS")}:
            raise _denied(f"{pair[0]} {pair[1]} is not allowed: a client keeps the rights that it logged in with")
        if pair in {("INTO", "OUTFILE"), ("FROM", "INFILE")}:
            raise _denied(
                f"{pair[0]} {pair[1]} uses a file of the server: read the result, or send the rows, as a client"
            )


def _refuse_attaching_a_folder(tokens: Sequence[Token]) -> None:
    """Refuse ATTACH TABLE … FROM 'folder', which moves the folder into the store."""
    for first, second in pairwise(tokens):
        if first.upper == "FROM" and second.kind == "string" and any(token.upper == "ATTACH" for token in tokens):
            raise _denied("ATTACH … FROM moves the folder into the store: INSERT its rows instead")


def _alternatives(place: str) -> list[str]:
    """The paths that `folder/{a,b}` stands for; none for any other pattern, as that could match a link."""
    before, opened, rest = place.partition("{")
    inside, closed, after = rest.partition("}")
    if _GLOB & set(before + inside + after) or bool(opened) != bool(closed) or ".." in inside:
        return []
    return [before + one + after for one in inside.split(",")] if opened else [place]


def _keep_to_reading(statement: Statement, tokens: Sequence[Token]) -> None:
    """Refuse an analyst everything except reading and changing the state of the session."""
    if statement.kind is not Kind.READ and statement.words[0] not in _STATE_OF_A_SESSION:
        raise _denied(f"the analyst's user only reads: {statement.words[0]} is not allowed")
    for index, token in enumerate(tokens):
        upper = token.upper
        if upper in {"PROCESSLIST", "IDENTIFIER"}:
            raise _denied(f"the analyst's user may not use {upper}")
        if token.name.lower() != "system":
            continue
        following = [later.name for later in tokens[index + 1 : index + 3]]
        is_qualified = index + 1 < len(tokens) and tokens[index + 1].text == "."
        before = tokens[index - 1].upper if index else ""
        if is_qualified and following[-1].lower() not in SYSTEM_TABLES_OF_ANALYSTS:
            raise _denied(f"the analyst's user may not read system.{following[-1]}")
        if not is_qualified and before == "USE":
            raise _denied("the analyst's user may not use the database system")


def refuse_kafka(statement: Statement) -> None:
    """Refuse a statement that creates a Kafka table without a stand-in.

    Raises:
        EngineError: 48 where the statement creates one.
    """
    if not any(token.upper == "KAFKA" for token in scan(statement.sql)):
        return
    for first, second in pairwise([token.upper for token in scan(statement.sql) if token.text != "="]):
        if first == "ENGINE" and second == "KAFKA":
            raise _broker_engine("Kafka")


def _no_such_engine(named: Token) -> EngineError:
    name = named.name or named.text
    if name.upper() in BROKER_ENGINES:
        return _broker_engine(name)
    reason = f"Engine {name} reaches outside the database, or does not run inside the embedded node"
    return refusal(NOT_IMPLEMENTED, "NOT_IMPLEMENTED", f"{reason}; use one of {', '.join(sorted(ENGINES))}")


def _broker_engine(name: str) -> EngineError:
    reason = (
        f"Table engine {name} does not run inside the embedded node. "
        "Start the node with --kafka-brokers, which gives it a stand-in for Kafka tables, or use a ClickHouse server."
    )
    return refusal(NOT_IMPLEMENTED, "NOT_IMPLEMENTED", reason)


def _outside(name: str) -> EngineError:
    return _denied(
        f"{name} reaches outside the database, which no client may; "
        "read a folder that the node was started with, by a plain path"
    )


def _denied(reason: str) -> EngineError:
    return refusal(ACCESS_DENIED, "ACCESS_DENIED", reason)
