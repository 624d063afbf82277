"""The migration journal in the database: the statements that were applied, and the objects that exist now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from config.settings import Settings
from ddl.client import SqlClient
from ddl.render import render_journal, render_template
from ddl.statements import MigrationStatement, ObjectKind

JOURNAL_TABLE = "schema_migrations"


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A statement in the journal. The fields are those of `MigrationStatement`.

    `state`: `started`, `done`, or `dropped` if its object was removed since. `definition`: the server's definition of
    the object after the statement.
    """

    key: str
    migration: str
    object: str
    kind: ObjectKind
    sha256: str
    state: str
    definition: str


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """The database at one moment: journal entries by key, oldest first, and object definitions by name."""

    entries: dict[str, JournalEntry] = field(default_factory=dict)
    definitions: dict[str, str] = field(default_factory=dict)

    def recorded_definition(self, name: str) -> str | None:
        """The server's definition of an object after the runner's last change.

        None if the runner has not changed the object, or a change of it is under way.
        """
        changes = [entry for entry in self.entries.values() if entry.object == name and entry.state != "dropped"]
        if not changes or any(entry.state == "started" for entry in changes):
            return None
        return changes[-1].definition


def look(client: SqlClient, settings: Settings) -> DatabaseState:
    """Read the journal and the objects of the database. Both are empty if the database does not exist yet."""
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
    """Create the database and the journal if they do not exist."""
    for statement in render_journal(settings):
        client.execute(statement.sql)


def record(
    client: SqlClient, settings: Settings, entries: Sequence[tuple[MigrationStatement | JournalEntry, str]]
) -> None:
    """Write statements and their states to the journal, with the current definitions of their objects.

    All entries go into one insert: on the embedded node an insert takes longer than most statements.
    """
    if entries:
        client.execute(_render(settings, "_record.sql", entries=entries))


def is_same_sql(client: SqlClient, settings: Settings, left: str, right: str) -> bool:
    """Whether two definitions are equal apart from their layout."""
    return left == right or bool(client.execute(_render(settings, "_same_sql.sql", left=left, right=right))[0][0])


def _render(settings: Settings, name: str, **more: object) -> str:
    # The values are literals: the version of the native protocol on the embedded node has no parameters.
    _, _, sql = render_template(settings, name, journal=JOURNAL_TABLE, **more).partition("\n")
    return sql
