"""Where the rows of the hot tables lie: on one server, or on the shards of a cluster.

On a cluster the settings name the readers' database, whose tables are over all shards (`ddl.readers`). These take reads
and inserts, and pick each row's shard themselves. Partitions, constraints and mutations are the shards' own, and views
are each replica's own.
"""

from __future__ import annotations

from dataclasses import dataclass

from offload.clickhouse.client import HotStore
from offload.clickhouse.templates import render
from offload.errors import HotStoreError, ReplicaAwayError


@dataclass(frozen=True)
class Shards:
    """Clients of one server, or of a cluster.

    `whole`: the database of the settings, with all rows. `each`: of each shard the database with its rows. `replicas`:
    the database of the settings on each replica of each shard. On one server all three are the same client.
    """

    whole: HotStore
    each: tuple[HotStore, ...]
    replicas: tuple[HotStore, ...]

    @classmethod
    def of(cls, hot: HotStore) -> Shards:
        """Find the shards behind the tables of `hot`, and connect to every replica.

        A shard's client is that of its first replica, which all services write to while it is up.

        Raises:
            ReplicaAwayError: a replica does not answer.
            HotStoreError: ClickHouse failed.
        """
        replicas = hot.rows(render("replicas.sql"), {})
        if not replicas:
            return cls(hot, (hot,), (hot,))
        try:
            first = [row for row in replicas if row["replica_num"] == 1]
            each = tuple(hot.at(str(row["host_name"]), str(row["shard_database"])) for row in first)
            on_each = tuple(hot.at(str(row["host_name"]), str(row["readers_database"])) for row in replicas)
        except HotStoreError as error:
            raise ReplicaAwayError(
                f"{error} A re-derivation needs every replica of every shard: no day was changed. Run the same command "
                "again when it is back."
            ) from error
        return cls(hot, each, on_each)

    def catch_up(self, table: str) -> None:
        """Wait until each shard's replica has all rows that any replica of the shard has acknowledged.

        Raises:
            HotStoreError: ClickHouse failed.
        """
        if len(self.replicas) > len(self.each):
            for shard in self.each:
                shard.command(render("sync_replica.sql", table=table), {})
