"""Whether a day can be published: its partitions are replaced in the tables of one server, not in those over shards."""

from __future__ import annotations

from ddl.layers import STATE_TABLE
from offload.clickhouse.client import HotStore
from offload.clickhouse.templates import render
from offload.errors import OffloadError

# Every hot table of which a re-derivation replaces partitions or rows.
_REPLACED = ["bronze_trades", "silver_trades", STATE_TABLE]


class OverShardsError(OffloadError):
    """The hot tables are those over all shards of a cluster. Nothing was changed."""


def tables_over_shards(hot: HotStore) -> str:
    """Which hot tables are those over all shards of a cluster, as the beginning of a sentence; "" on one server.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    found = [str(row["name"]) for row in hot.rows(render("tables_over_shards.sql"), {"tables": _REPLACED})]
    are = "are tables" if len(found) > 1 else "is a table"
    return f"{', '.join(found)} {are} over all shards of a cluster" if found else ""


def why_not_publishable(hot: HotStore) -> str:
    """Why no day can be published in this database, and what to do instead; "" where days can.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    tables = tables_over_shards(hot)
    if not tables:
        return ""
    return (
        f"{tables}. A day can be replaced in the tables of one server only: Iceberg would change and ClickHouse would "
        "not. So on a cluster nothing is re-derived. Trades that an earlier registry rejected get through with "
        "`medallion dlq replay`, by today's rules. What a re-derivation from Bronze would change, "
        "`medallion rederive --dry-run` says."
    )


def ensure_publishable(hot: HotStore) -> None:
    """Call before the first change.

    Raises:
        OverShardsError: no day can be published here.
        HotStoreError: ClickHouse failed.
    """
    if why := why_not_publishable(hot):
        raise OverShardsError(f"Nothing was changed. {why}")
