"""The readers' database of a cluster: its tables and views span all shards and have the names of the shards' own.

Services and analysts find every object there by its usual name. Against a single server they change one setting only:
`MEDALLION_CLICKHOUSE_DATABASE`. The database holds no rows, so every `ddl apply` creates its objects again.
"""

from __future__ import annotations

from config.settings import Settings
from ddl.client import SqlClient
from ddl.journal import look
from ddl.plan import Action
from ddl.render import render, render_template
from ddl.runner import Applied
from ddl.statements import MigrationStatement, ObjectKind, split
from series.declaration import load_series

SUFFIX = "_all"
# The sharding key of tables that are written through this database. All trades of a market go to one shard, and so does
# a repeated insert: only the shard of the first attempt knows its token.
_MARKET = "cityHash64(exchange, symbol)"
_KEYS = {
    "silver_trades": _MARKET,
    "duplicate_trades": _MARKET,
    "dlq_replays": _MARKET,
    "corrections": _MARKET,
    "quality_checks_log": _MARKET,
    "quality_anomalies_log": _MARKET,
    "rules_versions": "cityHash64(rules_version)",
    # A slice that is offloaded again replaces its row, which must not be on another shard.
    "offload_watermarks": "cityHash64(table_name, slice)",
    # Series are small and an answer may be of any market: all of them are on one shard, as every id is 32 digits long.
    **{series.landing: "length(answer_id)" for series in load_series()},
}
_ANY_SHARD = "rand()"
# Working tables of one shard. Only its administrator looks at them.
_INTERNAL = ("_leaving", "_staged")


def readers_database(settings: Settings) -> str:
    """The name of the readers' database."""
    return settings.clickhouse_database + SUFFIX


def is_readers_database(settings: Settings) -> bool:
    """Whether the settings' database is the readers' one of a cluster. Its name says so."""
    return settings.clickhouse_database.endswith(SUFFIX)


def missing_readers(client: SqlClient, settings: Settings) -> list[str]:
    """The tables and views that the readers' database of the settings lacks."""
    # Which cluster it is changes no name.
    shard = {"clickhouse_database": settings.clickhouse_database.removesuffix(SUFFIX), "clickhouse_cluster": "any"}
    there = look(client, settings).definitions
    _, *wanted = [statement.object for statement in render_readers(settings.model_copy(update=shard))]
    return [name for name in wanted if name not in there]


def render_readers(settings: Settings) -> list[MigrationStatement]:
    """The statements that create the database; [] if no cluster is set.

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
        # Nobody can select from a Kafka source. The sink is needed to send rows again.
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
    """Create the objects of the database again; [] if no cluster is set."""
    statements = render_readers(settings)
    for statement in statements:
        client.execute(statement.sql)
    return [Applied("readers", statement.object, statement.kind, Action.CREATE) for statement in statements]
