"""On a cluster: a second database whose tables and views span all shards, under the names that the shards use.

Everything that a service or an analyst asks for by name is there, so they differ from a single server's in one
setting: `MEDALLION_CLICKHOUSE_DATABASE`. Nothing in it holds rows, so it is made again with every `ddl apply`.
"""

from __future__ import annotations

from config.settings import Settings
from ddl.client import SqlClient
from ddl.plan import Action
from ddl.render import render, render_template
from ddl.runner import Applied
from ddl.statements import MigrationStatement, ObjectKind, split

SUFFIX = "_all"
# Where a row of a table that is written through here goes. A market's trades share a shard: so does a retried insert,
# whose token only the shard that has it already knows.
_MARKET = "cityHash64(exchange, symbol)"
_KEYS = {
    "silver_trades": _MARKET,
    "duplicate_trades": _MARKET,
    "dlq_replays": _MARKET,
    "corrections": _MARKET,
    "rules_versions": "cityHash64(rules_version)",
}
_ANY_SHARD = "rand()"
# Twins that only whoever administers one shard looks at.
_INTERNAL = ("_leaving", "_staged")


def readers_database(settings: Settings) -> str:
    """Its name."""
    return settings.clickhouse_database + SUFFIX


def render_readers(settings: Settings) -> list[MigrationStatement]:
    """The statements that make it; [] where no cluster is set.

    Raises:
        MigrationError: as `render`.
    """
    if not settings.clickhouse_cluster:
        return []
    here = settings.model_copy(update={"clickhouse_database": readers_database(settings)})
    wanted = [statement for statement in render(here) if not statement.object.endswith(_INTERNAL)]
    tables = [
        statement.object
        for statement in wanted
        # A source's rows cannot be selected; the sink takes what is sent through again.
        if statement.kind is ObjectKind.TABLE
        or (statement.kind is ObjectKind.KAFKA_TABLE and statement.object.endswith("_sink"))
    ]
    database = f"CREATE DATABASE IF NOT EXISTS {here.clickhouse_database} ON CLUSTER {settings.clickhouse_cluster}"
    return [
        MigrationStatement("readers", 0, ObjectKind.DATABASE, here.clickhouse_database, f"{database} ENGINE = Atomic"),
        *(statement for table in tables for statement in _over_all_shards(here, settings.clickhouse_database, table)),
        *(statement for statement in wanted if statement.kind is ObjectKind.VIEW),
    ]


def _over_all_shards(here: Settings, local: str, table: str) -> list[MigrationStatement]:
    key = _KEYS.get(table, _ANY_SHARD)
    return split("readers", render_template(here, "_reader.sql", local=local, table=table, key=key))


def apply_readers(client: SqlClient, settings: Settings) -> list[Applied]:
    """Make it, or make it again; [] where no cluster is set."""
    statements = render_readers(settings)
    for statement in statements:
        client.execute(statement.sql)
    return [Applied("readers", statement.object, statement.kind, Action.CREATE) for statement in statements]
