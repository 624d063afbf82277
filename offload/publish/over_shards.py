"""Checks whether a day can be published. A day of a table over shards cannot: it has no partition to replace."""

from __future__ import annotations

from ddl.layers import STATE_TABLE
from offload.clickhouse.client import HotStore
from offload.clickhouse.templates import render
from offload.errors import OffloadError

# The hot tables in which a re-derivation replaces partitions or rows.
_REPLACED = ["bronze_trades", "silver_trades", STATE_TABLE]


class OverShardsError(OffloadError):
    """The hot tables are spread over the shards of a cluster. Nothing was changed."""


def tables_over_shards(hot: HotStore) -> str:
    """The hot tables that are over all shards of a cluster, as the beginning of a sentence; "" on one server.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    names = [str(row["name"]) for row in hot.rows(render("tables_over_shards.sql"), {"tables": _REPLACED})]
    are = "are tables" if len(names) > 1 else "is a table"
    return f"{', '.join(names)} {are} over all shards of a cluster" if names else ""


def why_not_publishable(hot: HotStore) -> str:
    """Why no day can be published in this database, and what to do instead; "" if days can be published.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    tables = tables_over_shards(hot)
    if not tables:
        return ""
    return (
        f"{tables}. A day can be replaced in the tables of one server only: Iceberg would change and ClickHouse would "
        "not. So on a cluster nothing is re-derived. Trades that an earlier registry rejected get through with "
        "`medallion dlq replay`, by today's rules. `medallion rederive --dry-run` shows what a re-derivation from "
        "Bronze would change."
    )


def ensure_publishable(hot: HotStore) -> None:
    """Refuse to change anything if no day can be published. Call this before the first change.

    Raises:
        OverShardsError: no day can be published here.
        HotStoreError: ClickHouse failed.
    """
    if why := why_not_publishable(hot):
        raise OverShardsError(f"Nothing was changed. {why}")
