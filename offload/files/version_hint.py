"""The version hint: a file that tells engines without our catalog which metadata of a cold table is current.

`metadata/version-hint.text` holds the name of the current metadata file without its suffix, as ClickHouse and DuckDB
expect. Without the hint they read the newest metadata file, which may belong to a failed commit.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlparse

from pyiceberg.table import Table

from config.whole_file import write_whole
from offload.errors import WarehouseError
from offload.tables.catalog import ColdTier
from offload.tables.cold_tables import TABLES, ColdTable

_SUFFIX = ".metadata.json"
_TRIES = 20


def publish_hints(tier: ColdTier) -> dict[str, Table]:
    """`publish_hint` of every cold table; returns the tables by the name they have in `TABLES`.

    Raises:
        WarehouseError, OSError: as `publish_hint`.
    """
    return {cold.name: publish_hint(tier, cold) for cold in TABLES}


def publish_hint(tier: ColdTier, cold: ColdTable) -> Table:
    """Write the name of the table's current metadata to the hint, also while others commit; returns the table.

    Raises:
        WarehouseError: other processes commit faster than the hint can be written.
        OSError: the warehouse cannot be written.
    """
    table = tier.load(cold)
    for _ in range(_TRIES):
        if not _write(table):
            return table
        # Another process may have committed and written its hint since the table was loaded: load it again.
        current = tier.load(cold)
        if current.metadata_location == table.metadata_location:
            return current
        table = current
    raise WarehouseError(
        f"{tier.name(cold)} changes faster than its version hint can be written: run again when fewer writers commit."
    )


def hint_path(table: Table) -> str:
    """The path of a table's hint."""
    return f"{table.location()}/metadata/version-hint.text"


def _write(table: Table) -> bool:
    """Write the hint unless it already names the table's metadata; returns whether it was written."""
    path = hint_path(table)
    name = table.metadata_location.rpartition("/")[2].removesuffix(_SUFFIX).encode()
    hint = table.io.new_input(path)
    if hint.exists():
        with hint.open() as stream:
            if stream.read() == name:
                return False
    location = urlparse(path)
    if location.scheme == "file":
        # A reader must never see an empty file. An object store replaces an object in one step.
        write_whole(Path(location.path), name)
        return True
    with table.io.new_output(path).create(overwrite=True) as stream:
        stream.write(name)
    return True
