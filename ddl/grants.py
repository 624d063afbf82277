"""What Silver, the offload and the command line may do in ClickHouse, and what of it a user lacks."""

from __future__ import annotations

from config.settings import Settings
from ddl.client import SqlClient
from ddl.quoting import quote_name
from ddl.render import render_template

_OBJECT_STORE = "S3"


def needed(settings: Settings) -> dict[str, tuple[str, ...]]:
    """The privileges by what they are for, as `deploy/compose/clickhouse/users.xml` grants them to `ingest`.

    `READ ON S3` only where `MEDALLION_S3_ENDPOINT` or an `s3://` address says that the warehouse is in a bucket.
    """
    has_bucket = bool(settings.s3_endpoint) or settings.iceberg_warehouse.startswith("s3")
    return {
        f"{quote_name(settings.clickhouse_database)}.*": (
            *("SELECT", "INSERT", "ALTER DELETE", "OPTIMIZE"),
            *("TRUNCATE", "ALTER CONSTRAINT", "CREATE VIEW", "DROP VIEW"),
        ),
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
