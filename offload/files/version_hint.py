"""The file that tells engines without our catalog which metadata of a cold table is current.

`metadata/version-hint.text` holds the name of the current metadata file without its suffix, as ClickHouse and DuckDB
read it. Without it they take the newest file of the folder, which a try that failed may have left.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlparse
from uuid import uuid4

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from offload.errors import WarehouseError

_SUFFIX = ".metadata.json"
_TRIES = 20


def publish_hint(catalog: Catalog, identifier: str) -> Table:
    """Make the hint name the table's current metadata, whoever else commits meanwhile; returns the table.

    Raises:
        WarehouseError: others committed faster than the hint could be written, time and again.
        OSError: the warehouse cannot be written.
    """
    table = catalog.load_table(identifier)
    for _ in range(_TRIES):
        _write(table)
        # Another process may have committed, and written its hint, between the look and the write: look again.
        current = catalog.load_table(identifier)
        if current.metadata_location == table.metadata_location:
            return current
        table = current
    raise WarehouseError(f"{identifier} changes faster than it can be looked at: run again when fewer writers commit.")


def hint_path(table: Table) -> str:
    """Where the hint of a table is."""
    return f"{table.location()}/metadata/version-hint.text"


def _write(table: Table) -> None:
    path = hint_path(table)
    name = table.metadata_location.rpartition("/")[2].removesuffix(_SUFFIX).encode()
    hint = table.io.new_input(path)
    if hint.exists():
        with hint.open() as stream:
            if stream.read() == name:
                return
    location = urlparse(path)
    if location.scheme == "file":
        # A reader must not meet an empty file. An object store replaces objects whole.
        draft = Path(f"{location.path}.{uuid4().hex}")
        draft.write_bytes(name)
        draft.replace(location.path)
        return
    with table.io.new_output(path).create(overwrite=True) as stream:
        stream.write(name)
