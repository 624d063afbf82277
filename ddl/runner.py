"""Applies the migrations to a server, and reports how the server compares with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from config.settings import Settings
from ddl.client import SqlClient
from ddl.errors import DriftError
from ddl.journal import DatabaseState, JournalEntry, is_same_sql, look, prepare, record
from ddl.layers import load_layers
from ddl.plan import Action, ApplyStep, Comparison, State, compare_with_server, consumer_views
from ddl.render import render
from ddl.statements import MigrationStatement, ObjectKind


@dataclass(frozen=True, slots=True)
class Applied:
    """One step that `apply` took."""

    migration: str
    object: str
    kind: ObjectKind
    action: Action


@dataclass(frozen=True, slots=True)
class ObjectStatus:
    """The state of one object, compared with the files. `detail`: what differs, and what to do."""

    object: str
    kind: ObjectKind
    migration: str
    state: State
    detail: str


def apply(
    client: SqlClient, settings: Settings, statements: Sequence[MigrationStatement] | None = None
) -> list[Applied]:
    """Bring the server in line with the files. A second call does nothing and returns [].

    While tables or materialized views change, ClickHouse consumes nothing from Kafka: the views that read a Kafka table
    are dropped first and created last, so that no row misses a view that is being changed. If a call is interrupted,
    the next one completes it.

    Args:
        client: of a user who may create and drop the objects.
        settings: the database, the cluster and the values in the files.
        statements: applied instead of the shipped migrations.

    Raises:
        DriftError: an applied table differs from its file or is missing. Nothing was changed.
    """
    wanted = render(settings) if statements is None else list(statements)
    server = look(client, settings)
    comparisons = compare_with_server(wanted, server, lambda left, right: is_same_sql(client, settings, left, right))
    findings = [f"{_name(comparison)}: {comparison.detail}." for comparison in comparisons if _forbids(comparison)]
    if findings:
        raise DriftError(findings)
    steps = [ApplyStep(comparison.action, comparison.statement) for comparison in comparisons if comparison.action]
    if not steps:
        return []
    prepare(client, settings)
    consumers = consumer_views(wanted)
    if any(step.statement.kind not in {ObjectKind.VIEW, ObjectKind.DATA} for step in steps):
        steps = _paused(steps, wanted, server, consumers, client, settings)
    _take(steps, client, settings)
    return [
        Applied(step.statement.migration, step.statement.object, step.statement.kind, step.action) for step in steps
    ]


def status(
    client: SqlClient, settings: Settings, statements: Sequence[MigrationStatement] | None = None
) -> list[ObjectStatus]:
    """The state of every object of the files, then of every other object of the database. Changes nothing."""
    wanted = render(settings) if statements is None else list(statements)
    server = look(client, settings)
    comparisons = compare_with_server(wanted, server, lambda left, right: is_same_sql(client, settings, left, right))
    by_object: dict[str, Comparison] = {}
    for comparison in comparisons:
        key = comparison.statement.object or comparison.statement.key
        known = by_object.get(key)
        if known is None or known.state is State.APPLIED:
            by_object[key] = comparison
    statuses = [
        ObjectStatus(
            name, comparison.statement.kind, comparison.statement.migration, comparison.state, comparison.detail
        )
        for name, comparison in by_object.items()
        if comparison.state is not State.UNEXPECTED or comparison.statement.object in server.definitions
    ]
    unknown = sorted(server.definitions.keys() - by_object.keys() - set(load_layers().union_views))
    return statuses + [
        ObjectStatus(name, ObjectKind.TABLE, "", State.UNEXPECTED, "not made by the migrations: drop or move it")
        for name in unknown
    ]


def _forbids(comparison: Comparison) -> bool:
    """Whether `apply` refuses. A table that the files no longer have is no reason; `status` shows it."""
    return comparison.is_unsafe and not isinstance(comparison.statement, JournalEntry)


def _name(comparison: Comparison) -> str:
    return comparison.statement.object or comparison.statement.key


def _paused(
    steps: list[ApplyStep],
    wanted: Sequence[MigrationStatement],
    server: DatabaseState,
    consumers: set[str],
    client: SqlClient,
    settings: Settings,
) -> list[ApplyStep]:
    """Drop the views that read Kafka tables now. Return the steps, at the end of which these views are created."""
    readers = [statement for statement in wanted if statement.object in consumers]
    for reader in readers:
        if reader.object in server.definitions:
            record(client, settings, [(reader, "started")])
            _drop(reader, client, settings)
    others = [step for step in steps if step.statement.object not in consumers]
    obsolete = [step for step in others if step.action is Action.DROP]
    changes = [step for step in others if step.action is not Action.DROP]
    return [*obsolete, *changes, *(ApplyStep(Action.CREATE, reader) for reader in readers)]


def _take(steps: Sequence[ApplyStep], client: SqlClient, settings: Settings) -> None:
    """Take the steps in order. One insert into the journal records finished steps and those that start next."""
    finished: list[tuple[MigrationStatement | JournalEntry, str]] = []
    for _, together in groupby(enumerate(steps), lambda numbered: -1 if _is_new(numbered[1]) else numbered[0]):
        group = [step for _, step in together]
        started = [(step.statement, "started") for step in group if isinstance(step.statement, MigrationStatement)]
        record(client, settings, [*finished, *started])
        finished = [(step.statement, _take_one(step, client, settings)) for step in group]
    record(client, settings, finished)


def _is_new(step: ApplyStep) -> bool:
    """Whether the step only creates a table or view. Several such steps share a record in the journal, because they can
    all be taken again after an interruption.
    """
    return step.action is Action.CREATE and step.statement.kind is not ObjectKind.MATERIALIZED_VIEW


def _take_one(step: ApplyStep, client: SqlClient, settings: Settings) -> str:
    """Take a step. Returns the state for the journal."""
    statement = step.statement
    if isinstance(statement, JournalEntry):
        _drop(statement, client, settings)
        return "dropped"
    if step.action is Action.MODIFY_QUERY:
        client.execute(f"ALTER TABLE {_qualified(statement, settings)} MODIFY QUERY\n{statement.query}")
    else:
        if step.action is Action.REPLACE:
            _drop(statement, client, settings)
        client.execute(statement.sql)
    return "done"


def _drop(statement: MigrationStatement | JournalEntry, client: SqlClient, settings: Settings) -> None:
    """Drop a stateless object. SYNC: no block passes through it any more when this returns."""
    what = "TABLE" if statement.kind is ObjectKind.KAFKA_TABLE else "VIEW"
    client.execute(f"DROP {what} IF EXISTS {_qualified(statement, settings)} SYNC")


def _qualified(statement: MigrationStatement | JournalEntry, settings: Settings) -> str:
    cluster = f" ON CLUSTER {settings.clickhouse_cluster}" if settings.clickhouse_cluster else ""
    return f"{settings.clickhouse_database}.{statement.object}{cluster}"
