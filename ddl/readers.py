"""The readers' database of a cluster. Its tables and views span all shards, and have the same names as on the shards.

Services and analysts need one setting that differs from those of a single server: `MEDALLION_CLICKHOUSE_DATABASE`. The
database holds no rows, so every `ddl apply` creates its objects again.
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
# The sharding keys of tables that are written through this database. All trades of a market go to one shard. So does an
# insert that is repeated: only the shard of the first attempt knows its token.
_MARKET = "cityHash64(exchange, symbol)"
_KEYS = {
    "silver_trades": _MARKET,
    "duplicate_trades": _MARKET,
    "dlq_replays": _MARKET,
    "corrections": _MARKET,
    "quality_checks_log": _MARKET,
    "quality_anomalies_log": _MARKET,
    "rules_versions": "cityHash64(rules_version)",
    # A re-derivation prepares a day's rows where Silver has them.
    "silver_trades_staged": _MARKET,
    # The steps of all publications are on one shard: every id has 12 digits.
    "rederivations": "length(publication)",
    # A slice that is offloaded again replaces its row, so both rows must be on one shard.
    "offload_watermarks": "cityHash64(table_name, slice)",
    # Series are small, and an answer may have any markets, so all answers are on one shard: every id has 32 digits.
    **{series.landing: "length(answer_id)" for series in load_series()},
}
_ANY_SHARD = "rand()"
# Working tables of a single shard, which nobody reads through this database.
_INTERNAL = ("_leaving", "bronze_trades_staged")


def readers_database(settings: Settings) -> str:
    """The name of the readers' database."""
    return settings.clickhouse_database + SUFFIX


def is_readers_database(settings: Settings) -> bool:
    """Whether the settings name the readers' database of a cluster, as far as its name says."""
    return settings.clickhouse_database.endswith(SUFFIX)


def missing_readers(client: SqlClient, settings: Settings) -> list[str]:
    """The tables and views that the readers' database of the settings lacks."""
    # The names of the objects do not depend on the name of the cluster.
    shard = {"clickhouse_database": settings.clickhouse_database.removesuffix(SUFFIX), "clickhouse_cluster": "any"}
    existing = look(client, settings).definitions
    _, *wanted = [statement.object for statement in render_readers(settings.model_copy(update=shard))]
    return [name for name in wanted if name not in existing]


def render_readers(settings: Settings) -> list[MigrationStatement]:
    """The statements that create the database; [] if no cluster is set.

    Raises:
        MigrationError: as `render`.
    """
    if not settings.clickhouse_cluster:
        return []
    of_readers = settings.model_copy(update={"clickhouse_database": readers_database(settings)})
    wanted = [statement for statement in render(of_readers) if not statement.object.endswith(_INTERNAL)]
    tables = [
        statement.object
        for statement in wanted
        # A Kafka table that consumes cannot be selected from. The sink is needed to send dead letters again.
        if statement.kind is ObjectKind.TABLE
        or (statement.kind is ObjectKind.KAFKA_TABLE and statement.object.endswith("_sink"))
    ]
    name, cluster = of_readers.clickhouse_database, settings.clickhouse_cluster
    database = f"CREATE DATABASE IF NOT EXISTS {name} ON CLUSTER {cluster} ENGINE = Atomic"
    local = settings.clickhouse_database
    return [
        MigrationStatement("readers", 0, ObjectKind.DATABASE, name, database),
        *(statement for table in tables for statement in _over_all_shards(of_readers, local, table)),
        *(statement for statement in wanted if statement.kind is ObjectKind.VIEW),
    ]


def _over_all_shards(of_readers: Settings, local: str, table: str) -> list[MigrationStatement]:
    key = _KEYS.get(table, _ANY_SHARD)
    return split("readers", render_template(of_readers, "_reader.sql", local=local, table=table, key=key))


def apply_readers(client: SqlClient, settings: Settings) -> list[Applied]:
    """Create the objects of the database again; [] if no cluster is set."""
    statements = render_readers(settings)
    for statement in statements:
        client.execute(statement.sql)
    return [Applied("readers", statement.object, statement.kind, Action.CREATE) for statement in statements]
