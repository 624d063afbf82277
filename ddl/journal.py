"""What was applied, as the database remembers it, and what the server holds now."""

from __future__ import annotations

from dataclasses import dataclass, field

from config.settings import Settings
from ddl.client import SqlClient
from ddl.render import render_journal, render_template
from ddl.statements import MigrationStatement, ObjectKind

JOURNAL_TABLE = "schema_migrations"


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A statement that was begun (`started`), finished (`done`) or whose object was removed (`dropped`)."""

    key: str
    migration: str
    object: str
    kind: ObjectKind
    sha256: str
    state: str
    definition: str


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """One look at the database: journal entries by key, oldest first, and object definitions by name."""

    entries: dict[str, JournalEntry] = field(default_factory=dict)
    definitions: dict[str, str] = field(default_factory=dict)

    def recorded_definition(self, name: str) -> str | None:
        """What the server said of `name` after the runner last touched it; None while a change is under way."""
        touched = [entry for entry in self.entries.values() if entry.object == name and entry.state != "dropped"]
        if not touched or any(entry.state == "started" for entry in touched):
            return None
        return touched[-1].definition


def look(client: SqlClient, settings: Settings) -> DatabaseState:
    """Journal and objects as they are; both empty where the database does not exist yet."""
    objects = client.execute(_render(settings, "_objects.sql"))
    definitions = {name: definition for name, definition, _ in objects}
    if not client.execute(_render(settings, "_has_journal.sql"))[0][0]:
        return DatabaseState({}, definitions)
    rows = client.execute(_render(settings, "_entries.sql"))
    entries = {
        key: JournalEntry(key, migration, name, ObjectKind(kind), sha256, state, definition)
        for key, migration, name, kind, sha256, state, definition in rows
    }
    return DatabaseState(entries, definitions)


def prepare(client: SqlClient, settings: Settings) -> None:
    """Make the database and the journal, if they are not there."""
    for statement in render_journal(settings):
        client.execute(statement.sql)


def record(client: SqlClient, settings: Settings, statement: MigrationStatement | JournalEntry, state: str) -> None:
    """Note that a statement is `started`, `done` or `dropped`, with the server's definition of its object."""
    client.execute(_render(settings, "_record.sql", entry=statement, state=state))


def is_same_sql(client: SqlClient, settings: Settings, left: str, right: str) -> bool:
    """Whether two definitions differ in nothing but layout."""
    return left == right or bool(client.execute(_render(settings, "_same_sql.sql", left=left, right=right))[0][0])


def _render(settings: Settings, name: str, **more: object) -> str:
    # Literals and not parameters: the embedded node's native protocol is of before there were any.
    _, _, sql = render_template(settings, name, journal=JOURNAL_TABLE, **more).partition("\n")
    return sql
