"""What was applied, as the database remembers it, and what the server holds now."""

from __future__ import annotations

from dataclasses import dataclass, field

from config.settings import Settings
from ddl.client import Client
from ddl.render import render_journal
from ddl.statements import Kind, Statement

JOURNAL_TABLE = "schema_migrations"

_SELECT_OBJECTS = """
SELECT name, create_table_query, engine
FROM system.tables
WHERE database = %(database)s AND name != %(journal)s AND NOT is_temporary
"""
_HAS_JOURNAL = "SELECT count() FROM system.tables WHERE database = %(database)s AND name = %(journal)s"
_SAME_SQL = "SELECT formatQueryOrNull(%(left)s) = formatQueryOrNull(%(right)s)"


@dataclass(frozen=True, slots=True)
class Entry:
    """A statement that was begun (`started`), finished (`done`) or whose object was removed (`dropped`)."""

    key: str
    migration: str
    object: str
    kind: Kind
    sha256: str
    state: str
    definition: str


@dataclass(frozen=True, slots=True)
class Server:
    """One look at the database: journal entries by key, oldest first, and object definitions by name."""

    entries: dict[str, Entry] = field(default_factory=dict)
    definitions: dict[str, str] = field(default_factory=dict)

    def recorded_definition(self, name: str) -> str | None:
        """What the server said of `name` after the runner last touched it; None while a change is under way."""
        touched = [entry for entry in self.entries.values() if entry.object == name and entry.state != "dropped"]
        if not touched or any(entry.state == "started" for entry in touched):
            return None
        return touched[-1].definition


def look(client: Client, settings: Settings) -> Server:
    """Journal and objects as they are; both empty where the database does not exist yet."""
    names = {"database": settings.clickhouse_database, "journal": JOURNAL_TABLE}
    definitions = {name: definition for name, definition, _ in client.execute(_SELECT_OBJECTS, names)}
    if not client.execute(_HAS_JOURNAL, names)[0][0]:
        return Server({}, definitions)
    rows = client.execute(
        "SELECT statement, migration, object, kind, sha256, toString(state), definition "  # noqa: S608
        f"FROM {settings.clickhouse_database}.{JOURNAL_TABLE} FINAL ORDER BY applied_at, statement"
    )
    entries = {
        key: Entry(key, migration, name, Kind(kind), sha256, state, definition)
        for key, migration, name, kind, sha256, state, definition in rows
    }
    return Server(entries, definitions)


def prepare(client: Client, settings: Settings) -> None:
    """Make the database and the journal, if they are not there."""
    for statement in render_journal(settings):
        client.execute(statement.sql)


def record(client: Client, settings: Settings, statement: Statement | Entry, state: str) -> None:
    """Note that a statement is `started`, `done` or `dropped`, with the server's definition of its object."""
    client.execute(
        f"INSERT INTO {settings.clickhouse_database}.{JOURNAL_TABLE} "  # noqa: S608
        "SELECT %(key)s, %(migration)s, %(object)s, %(kind)s, %(sha256)s, %(state)s, "
        "(SELECT any(create_table_query) FROM system.tables WHERE database = %(database)s AND name = %(object)s), "
        "now64(6, 'UTC')",
        {
            "key": statement.key,
            "migration": statement.migration,
            "object": statement.object,
            "kind": statement.kind.value,
            "sha256": statement.sha256,
            "state": state,
            "database": settings.clickhouse_database,
        },
    )


def is_same_sql(client: Client, left: str, right: str) -> bool:
    """Whether two definitions differ in nothing but layout."""
    return left == right or bool(client.execute(_SAME_SQL, {"left": left, "right": right})[0][0])
