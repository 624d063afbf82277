"""The privileges that Silver, the offload and the command line need in ClickHouse, and those that a user lacks."""

from __future__ import annotations

from config.settings import Settings
from ddl.client import SqlClient
from ddl.quoting import quote_name
from ddl.readers import SUFFIX, is_readers_database
from ddl.render import render_template

_OBJECT_STORE = "S3"
# The privileges to replace and remove rows, and to pause inserts.
_IN_TABLES = ("ALTER DELETE", "OPTIMIZE", "TRUNCATE", "ALTER CONSTRAINT")
# What a re-derivation needs besides in a shard's own database.
_IN_SHARDS = (*_IN_TABLES, "SYSTEM SYNC REPLICA")


def needed(settings: Settings) -> dict[str, tuple[str, ...]]:
    """The privileges by scope, as `deploy/compose/clickhouse/users.xml` grants them to the user `ingest`.

    On a cluster (`deploy/cluster/files/cluster-users.xml`) partitions, constraints and mutations are those of the
    shards' own database; the readers' database needs none of their privileges.

    `READ ON S3` is needed only if the warehouse is in a bucket: `MEDALLION_S3_ENDPOINT` is set, or the warehouse has an
    `s3://` address.
    """
    has_bucket = bool(settings.s3_endpoint) or settings.iceberg_warehouse.startswith("s3")
    is_cluster = is_readers_database(settings)
    in_tables = () if is_cluster else _IN_TABLES
    of_shards = f"{quote_name(settings.clickhouse_database.removesuffix(SUFFIX))}.*"
    return {
        f"{quote_name(settings.clickhouse_database)}.*": ("SELECT", "INSERT", *in_tables, "CREATE VIEW", "DROP VIEW"),
        **({of_shards: ("SELECT", "INSERT", *_IN_SHARDS)} if is_cluster else {}),
        "pin_*.*": ("SELECT", "CREATE DATABASE", "CREATE VIEW", "DROP VIEW"),
        "*.*": ("CREATE TEMPORARY TABLE",),
        "system.*": ("SELECT",),
        **({_OBJECT_STORE: ("READ",)} if has_bucket else {}),
    }


def lacking(client: SqlClient, settings: Settings) -> list[str]:
    """The privileges of `needed` that the client's user lacks, such as `INSERT ON medallion.*`. Changes nothing.

    `CHECK GRANT` returns 1 or 0 (clickhouse.com/docs/sql-reference/statements/check-grant).
    """
    return [
        f"{privilege} ON {scope}"
        for scope, privileges in needed(settings).items()
        for privilege in privileges
        if not client.execute(render_template(settings, "_check_grant.sql", privilege=privilege, scope=scope))[0][0]
    ]
