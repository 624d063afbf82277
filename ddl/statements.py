"""Splits a migration into its SQL statements, and finds out what each of them creates."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum

from ddl.errors import MigrationError

_HEAD = re.compile(
    r"""^(?P<verb>CREATE(?:\s+OR\s+REPLACE)?|ALTER|DROP)\s+
        (?P<what>DATABASE|TABLE|MATERIALIZED\s+VIEW|VIEW)\s+
        (?:IF\s+(?:NOT\s+)?EXISTS\s+)?
        (?:`?\w+`?\.)?`?(?P<name>\w+)`?""",
    re.VERBOSE,
)
_KAFKA = re.compile(r"^ENGINE\s*=\s*Kafka\b", re.MULTILINE)
# As ClickHouse's lexer (src/Parsers/Lexer.cpp) has them; a comment in a comment is refused. A group that can fail after
# its first character is not possessive: Python 3.11.2 would keep what it had read (CPython gh-100061).
_COMMENT = r"(?:(?:--|//|\#[!\ ])[^\n]*+|/\*[^*/]*+(?:(?:\*(?!/)|/(?!\*))[^*/]*+)*\*/)"
_LEADING_COMMENTS = re.compile(rf"(?:\s*+{_COMMENT})*\s*+", re.DOTALL)
_PART = re.compile(
    rf"""(?P<end>;)
      | {_COMMENT}
      | '(?:[^'\\]|\\.|'')*+' | "(?:[^"\\]|\\.|"")*+" | `(?:[^`\\]|\\.|``)*+`
      | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$
      | (?P<open>/\*|['"`])""",
    re.DOTALL | re.VERBOSE,
)
_QUERY = re.compile(r"^AS$\n", re.MULTILINE)
_SCHEDULE = re.compile(r"^REFRESH\s+(?:EVERY|AFTER)\b", re.MULTILINE)
_SOURCE = re.compile(r"^FROM\s+(?:`?\w+`?\.)?`?(?P<name>\w+)`?", re.MULTILINE)


class ObjectKind(StrEnum):
    """The kind of a statement. It decides what the runner may do when the statement changes."""

    DATABASE = "database"
    TABLE = "table"
    KAFKA_TABLE = "kafka table"
    MATERIALIZED_VIEW = "materialized view"
    VIEW = "view"
    ALTER = "alter"
    DROP = "drop"
    DATA = "data"

    @property
    def is_stateless(self) -> bool:
        """Whether the object holds no rows of its own, so that it can be created again at any time."""
        return self in {ObjectKind.KAFKA_TABLE, ObjectKind.MATERIALIZED_VIEW, ObjectKind.VIEW}


@dataclass(frozen=True, slots=True)
class MigrationStatement:
    """One rendered SQL statement.

    `migration`: the file's name without `.sql`. `number`: its place in the file, from 1. `object`: the unqualified name
    of what it creates, alters or drops; "" for data. `sql`: the exact text that is sent.
    """

    migration: str
    number: int
    kind: ObjectKind
    object: str
    sql: str

    @property
    def key(self) -> str:
        """The identity in the journal.

        It has the object's name and not the number, because a setting can add a statement and shift the numbers.
        """
        by_object = self.kind not in {ObjectKind.ALTER, ObjectKind.DATA}
        return f"{self.migration}/{self.object if by_object else self.number}"

    @property
    def sha256(self) -> str:
        """Hex digest of the rendered text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def source(self) -> str:
        """The table that a materialized view reads; "" for any other statement."""
        source = _SOURCE.search(self.sql) if self.kind is ObjectKind.MATERIALIZED_VIEW else None
        return source["name"] if source else ""

    @property
    def is_refreshed(self) -> bool:
        """Whether it is a materialized view that ClickHouse runs by a schedule, and not with every insert."""
        return self.kind is ObjectKind.MATERIALIZED_VIEW and _SCHEDULE.search(self.sql) is not None

    @property
    def query(self) -> str:
        """The SELECT of a materialized view: the text after the line `AS`.

        Raises:
            MigrationError: the statement has no such line.
        """
        parts = _QUERY.split(self.sql, maxsplit=1)
        if len(parts) != 2:
            raise MigrationError(
                f"{self.migration}, statement {self.number}: a view's `AS` must stand on a line of its own, "
                "so that its query can be changed in place; move it there."
            )
        return parts[1]


def split(migration: str, text: str) -> list[MigrationStatement]:
    """Split a rendered migration. A statement ends with a `;` that is not in a comment, a text or a quoted name.

    Raises:
        MigrationError: text follows the last `;`; a quote or a comment is not closed, or a comment is in a comment.
    """
    bodies: list[str] = []
    start = 0
    for part in _PART.finditer(text):
        if part["open"]:
            line = text.count("\n", 0, part.start()) + 1
            raise MigrationError(
                f"{migration}, line {line} of the rendered text: {part['open']} is never closed, or has a comment in a "
                "comment; close it."
            )
        if part["end"]:
            bodies.append(text[start : part.start()])
            start = part.end()
    if _LEADING_COMMENTS.sub("", text[start:], count=1):
        raise MigrationError(f"{migration}: the last statement lacks its `;`; add it.")
    statements: list[MigrationStatement] = []
    for body in bodies:
        sql = _LEADING_COMMENTS.sub("", body, count=1).strip()
        if sql:
            kind, name = _classify(sql)
            statements.append(MigrationStatement(migration, len(statements) + 1, kind, name, sql))
    return statements


def _classify(sql: str) -> tuple[ObjectKind, str]:
    head = _HEAD.match(sql)
    if head is None:
        return ObjectKind.DATA, ""
    if head["verb"] in {"ALTER", "DROP"}:
        return ObjectKind(head["verb"].lower()), head["name"]
    what = " ".join(head["what"].split())
    if what == "TABLE" and head["verb"] != "CREATE" and _QUERY.search(sql):
        # CREATE OR REPLACE TABLE … AS SELECT replaces the rows of a table.
        return ObjectKind.DATA, ""
    if what == "TABLE":
        return (ObjectKind.KAFKA_TABLE if _KAFKA.search(sql) else ObjectKind.TABLE), head["name"]
    return {"DATABASE": ObjectKind.DATABASE, "VIEW": ObjectKind.VIEW}.get(what, ObjectKind.MATERIALIZED_VIEW), head[
        "name"
    ]
