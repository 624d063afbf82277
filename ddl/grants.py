"""What Silver, the offload and the command line may do in ClickHouse, and what of it a user lacks."""

from __future__ import annotations

from config.settings import Settings
from ddl.client import SqlClient
from ddl.quoting import quote_name
from ddl.readers import is_readers_database
from ddl.render import render_template

_OBJECT_STORE = "S3"
# What replaces and removes rows, and pauses inserts.
_IN_TABLES = ("ALTER DELETE", "OPTIMIZE", "TRUNCATE", "ALTER CONSTRAINT")


def needed(settings: Settings) -> dict[str, tuple[str, ...]]:
    """The privileges by what they are for, as `deploy/compose/clickhouse/users.xml` grants them to `ingest`.

    In the readers' database of a cluster rows are written and views made, and no more: `deploy/cluster/files/
    cluster-users.xml`. Tables over all shards take no mutation, no constraint and no partition.

    `READ ON S3` only where `MEDALLION_S3_ENDPOINT` or an `s3://` address says that the warehouse is in a bucket.
    """
    has_bucket = bool(settings.s3_endpoint) or settings.iceberg_warehouse.startswith("s3")
    in_tables = () if is_readers_database(settings) else _IN_TABLES
    return {
        f"{quote_name(settings.clickhouse_database)}.*": ("SELECT", "INSERT", *in_tables, "CREATE VIEW", "DROP VIEW"),
        "pin_*.*": ("SELECT", "CREATE DATABASE", "CREATE VIEW", "DROP VIEW"),
        "*.*": ("CREATE TEMPORARY TABLE",),
        "system.*": ("SELECT",),
        **({_OBJECT_STORE: ("READ",)} if has_bucket else {}),
    }


def lacking(client: SqlClient, settings: Settings) -> list[str]:
    """What of it the client's user lacks, such as `INSERT ON medallion.*`. Changes nothing.

    `CHECK GRANT` answers 1 or 0 (clickhouse.com/docs/sql-reference/statements/check-grant).
    """
    return [
        f"{privilege} ON {scope}"
        for scope, privileges in needed(settings).items()
        for privilege in privileges
        if not client.execute(render_template(settings, "_check_grant.sql", privilege=privilege, scope=scope))[0][0]
    ]
