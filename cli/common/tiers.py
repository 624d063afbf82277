"""Opens both tiers for a command, and says what Iceberg lacks where the command changes nothing."""

from __future__ import annotations

from cli.common.context import err
from config.settings import Settings
from offload.clickhouse.tiers import Tiers
from offload.tables.cold_tables import TABLES

_OFFLOAD = "`medallion offload run` makes them"


def tiers_of(settings: Settings, *, only_look: bool = True) -> Tiers:
    """Both tiers. A command that only looks makes no cold table; one that is missing counts as empty, and is named.

    Raises:
        HotStoreError, WarehouseError: as `Tiers.open`.
    """
    if not only_look:
        return Tiers.open(settings)
    tiers = Tiers.look(settings)
    missing = tiers.cold.missing()
    if len(missing) == len(TABLES):
        err.print(f"Nothing is in Iceberg yet: there are no cold tables. {_OFFLOAD}.")
    elif missing:
        err.print(f"Iceberg lacks cold tables, which count as empty: {', '.join(missing)}. {_OFFLOAD}.")
    return tiers
