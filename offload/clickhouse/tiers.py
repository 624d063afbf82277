"""The hot and the cold tier, opened once for each command and for each job of the service."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from config.settings import Settings
from offload.clickhouse.client import ClickHouseHttp, HotStore
from offload.clickhouse.shards import Shards
from offload.tables.catalog import ColdTier, ColdView


@dataclass(frozen=True)
class Tiers:
    """The hot tables in ClickHouse and the cold tables in Iceberg. For one thread, as the connection is."""

    settings: Settings
    hot: HotStore
    cold: ColdTier

    @cached_property
    def shards(self) -> Shards:
        """The shards of the hot tables, looked up once.

        Raises:
            HotStoreError, ReplicaAwayError: as `Shards.of`.
        """
        return Shards.of(self.hot)

    @classmethod
    def open(cls, settings: Settings, hot: HotStore | None = None) -> Tiers:
        """Connect to both and create the cold tables that are missing. `hot` replaces the connection of `settings`.

        Raises:
            HotStoreError: ClickHouse does not answer.
            WarehouseError: the catalog cannot be opened, or a cold table is not of this version.
        """
        return cls(settings, hot or ClickHouseHttp(settings), ColdTier.open(settings))

    @classmethod
    def look(cls, settings: Settings) -> Tiers:
        """Connect to both for a command that changes nothing: no folder, catalog or table is made.

        Raises:
            HotStoreError, WarehouseError: as `open`.
        """
        return cls(settings, ClickHouseHttp(settings), ColdView.look(settings))
