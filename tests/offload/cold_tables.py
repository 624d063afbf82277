"""The cold tables as a reader sees them: pyiceberg to polars, and which files are on disk."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from urllib.parse import urlparse

import polars as pl
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from config.settings import Settings
from offload.tables.catalog import open_catalog
from offload.tables.cold_tables import TABLES, ColdTable
from tests.clickhouse import as_json


@lru_cache(maxsize=1)
def _catalog(settings: str) -> Catalog:
    return open_catalog(Settings.model_validate_json(settings))


def forget_catalog() -> None:
    """Open the catalog again: another file is in its place."""
    _catalog.cache_clear()


def load(settings: Settings, cold: ColdTable) -> Table:
    return _catalog(as_json(settings)).load_table(f"{settings.iceberg_namespace}.{cold.name}")


def read(settings: Settings, cold: ColdTable) -> pl.DataFrame:
    frame = pl.from_arrow(load(settings, cold).scan().to_arrow())
    assert isinstance(frame, pl.DataFrame)
    return frame


def files_on_disk(settings: Settings) -> set[str]:
    return {path.as_uri() for path in Path(urlparse(settings.iceberg_warehouse).path).rglob("*.parquet")}


def files_referenced(settings: Settings) -> set[str]:
    """Data files that any snapshot of any cold table names."""
    found = set()
    for cold in TABLES:
        table = load(settings, cold)
        for snapshot in table.metadata.snapshots:
            for manifest in snapshot.manifests(table.io):
                found |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io)}
    return found


def live_files(settings: Settings, cold: ColdTable) -> list[Path]:
    return [Path(urlparse(task.file.file_path).path) for task in load(settings, cold).scan().plan_files()]
