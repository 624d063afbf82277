"""The differences between the migration files and the server, and the steps that remove them. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ddl.journal import DatabaseState, JournalEntry
from ddl.statements import MigrationStatement, ObjectKind

SameSql = Callable[[str, str], bool]


class Action(StrEnum):
    """What the runner does with a statement."""

    CREATE = "create"
    REPLACE = "replace"
    MODIFY_QUERY = "modify query"
    RUN = "run"
    DROP = "drop"


class State(StrEnum):
    """How an object compares with the files."""

    APPLIED = "applied"
    PENDING = "pending"
    DRIFTED = "drifted"
    MISSING = "missing"
    UNEXPECTED = "unexpected"


@dataclass(frozen=True, slots=True)
class ApplyStep:
    """One step of `apply`. `statement` is a journal entry if the object is only dropped."""

    action: Action
    statement: MigrationStatement | JournalEntry


@dataclass(frozen=True, slots=True)
class Comparison:
    """The state of one statement, and the action that corrects it; None if none is needed, or none is safe.

    `detail`: what differs, and what to do.
    """

    statement: MigrationStatement | JournalEntry
    state: State
    detail: str = ""
    action: Action | None = None

    @property
    def is_unsafe(self) -> bool:
        """Whether the server differs and no action is safe."""
        return self.state is not State.APPLIED and self.action is None


def compare_with_server(
    statements: Sequence[MigrationStatement], server: DatabaseState, same_sql: SameSql
) -> list[Comparison]:
    """The comparisons of all statements, then those of objects that are in the journal but no longer in the files.

    `same_sql`: whether two definitions are equal apart from their layout. Statements that `without_superseded` removes
    are not compared.
    """
    consumers = consumer_views(statements)
    comparisons = [
        _compare(statement, server, same_sql, consumers)
        for statement in without_superseded(statements, server.definitions)
    ]
    named = {statement.object for statement in statements}
    seen: set[str] = set()
    for entry in reversed(server.entries.values()):
        if entry.object in named | seen | {""} or entry.state == "dropped":
            continue
        seen.add(entry.object)
        comparisons.append(
            Comparison(entry, State.UNEXPECTED, "no longer in the files; apply drops it", Action.DROP)
            if entry.kind.is_stateless
            else Comparison(entry, State.UNEXPECTED, "no longer in the files; drop it in a new migration", None)
        )
    return comparisons


def without_superseded(statements: Sequence[MigrationStatement], existing: Container[str]) -> list[MigrationStatement]:
    """The statements without those that drop a missing object, and without data statements that name such an object."""
    drops = [statement for statement in statements if statement.kind is ObjectKind.DROP]
    missing = [drop.object for drop in drops if drop.object not in existing]
    if not missing:
        return list(statements)
    names_missing = re.compile(rf"\b(?:{'|'.join(missing)})\b")
    return [
        statement
        for statement in statements
        if not (statement.kind is ObjectKind.DROP and statement.object in missing)
        and not (statement.kind is ObjectKind.DATA and names_missing.search(statement.sql))
    ]


def consumer_views(statements: Sequence[MigrationStatement]) -> set[str]:
    """The materialized views that read a Kafka table. ClickHouse consumes nothing while none of them exists."""
    kafka = {statement.object for statement in statements if statement.kind is ObjectKind.KAFKA_TABLE}
    return {statement.object for statement in statements if statement.source in kafka}


def _compare(
    statement: MigrationStatement, server: DatabaseState, same_sql: SameSql, consumers: set[str]
) -> Comparison:
    entry = server.entries.get(statement.key)
    if entry is not None and entry.state == "dropped":
        entry = None
    if statement.kind is ObjectKind.DROP:
        return Comparison(statement, State.PENDING, "superseded; apply drops it", Action.RUN)
    if statement.kind in {ObjectKind.ALTER, ObjectKind.DATA}:
        return _compare_run_once(statement, entry)
    definition = server.definitions.get(statement.object)
    if entry is None:
        return _compare_unrecorded(statement, definition)
    exists_in_other_form = definition is not None and entry.sha256 != statement.sha256
    if entry.state == "started" and (statement.kind.is_stateless or not exists_in_other_form):
        again = Action.REPLACE if statement.kind.is_stateless else Action.CREATE
        return Comparison(statement, State.PENDING, "an earlier apply did not finish it", again)
    if definition is None:
        return _compare_missing(statement)
    return _compare_definition(statement, entry, definition, server, same_sql, _correction(statement, consumers))


def _compare_definition(
    statement: MigrationStatement,
    entry: JournalEntry,
    definition: str,
    server: DatabaseState,
    same_sql: SameSql,
    correction: Action | None,
) -> Comparison:
    if entry.sha256 != statement.sha256:
        remedy = f"; put {statement.migration}.sql and the settings back, and ALTER in a new migration"
        detail = "the file or a setting in it changed since it was applied"
        return Comparison(statement, State.DRIFTED, detail + ("" if correction else remedy), correction)
    recorded = server.recorded_definition(statement.object)
    if recorded is not None and not same_sql(recorded, definition):
        remedy = ": undo that by hand, since only you know why it was done"
        detail = f"{statement.object} was altered on the server"
        return Comparison(statement, State.DRIFTED, detail + ("" if correction else remedy), correction)
    return Comparison(statement, State.APPLIED)


def _compare_unrecorded(statement: MigrationStatement, definition: str | None) -> Comparison:
    if definition is None:
        return Comparison(statement, State.PENDING, "not applied yet", Action.CREATE)
    return Comparison(
        statement,
        State.UNEXPECTED,
        f"{statement.object} exists but was not made by this runner: rename or drop it, then apply again",
    )


def _compare_missing(statement: MigrationStatement) -> Comparison:
    if statement.kind.is_stateless:
        return Comparison(statement, State.MISSING, "dropped on the server; apply makes it again", Action.CREATE)
    return Comparison(
        statement,
        State.MISSING,
        f"table {statement.object} was applied and is gone: restore it from a backup, or, to start with an empty "
        f"one, delete its row from schema_migrations (statement = '{statement.key}') and apply again",
    )


def _correction(statement: MigrationStatement, consumers: set[str]) -> Action | None:
    """The action that brings a changed object in line with its file; None for a table, whose rows could be lost.

    A view that each insert into an ordinary table runs is never dropped: rows inserted in the meantime would not reach
    its target.
    """
    is_run_by_inserts = statement.object not in consumers and not statement.is_refreshed
    if statement.kind is ObjectKind.MATERIALIZED_VIEW and is_run_by_inserts:
        return Action.MODIFY_QUERY
    return Action.REPLACE if statement.kind.is_stateless else None


def _compare_run_once(statement: MigrationStatement, entry: JournalEntry | None) -> Comparison:
    if entry is None or entry.state == "started":
        return Comparison(statement, State.PENDING, "not applied yet", Action.RUN)
    if entry.sha256 != statement.sha256:
        return Comparison(
            statement,
            State.DRIFTED,
            f"statement {statement.number} of {statement.migration}.sql changed after it ran: put it back, and write "
            "a new migration for the change",
        )
    return Comparison(statement, State.APPLIED)
