"""Upkeep of the cold tables: snapshots that expire, and files that nothing names any more.

pyiceberg expires snapshots and deletes no file. A file goes when no snapshot that is left reads it and it is older
than an age that no commit under way can have: an offloader writes its files before its commit names them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from config.settings import Settings
from offload.files.commit import referenced_files
from offload.files.folder import list_files
from offload.files.version_hint import hint_path, publish_hint
from offload.tables.catalog import ensure_tables, open_catalog
from offload.tables.cold_tables import TABLES


class Upkeep(BaseModel):
    """What was, or in a dry run would be, done to one table; `bytes` of the files removed.

    A dry run does not know which files the snapshots that would expire are the last to name.
    """

    model_config = ConfigDict(frozen=True)

    table: str
    expired_snapshots: int
    removed_files: int
    bytes: int


def maintain(
    settings: Settings,
    *,
    expire_after: timedelta | None = None,
    orphan_age: timedelta | None = None,
    dry_run: bool = False,
) -> list[Upkeep]:
    """Expire snapshots older than `expire_after`, except current and pinned ones, then remove unnamed files.

    Both ages are those of the settings (`snapshot_keep_days`, `orphan_keep_days`) unless given.

    Raises:
        OffloadError: the catalog or the warehouse cannot be used.
    """
    keep = timedelta(days=settings.snapshot_keep_days) if expire_after is None else expire_after
    age = timedelta(days=settings.orphan_keep_days) if orphan_age is None else orphan_age
    catalog = open_catalog(settings)
    ensure_tables(catalog, settings.iceberg_namespace)
    found = []
    for cold in TABLES:
        identifier = f"{settings.iceberg_namespace}.{cold.name}"

        @retry(
            retry=retry_if_exception_type(CommitFailedException),
            stop=stop_after_attempt(10),
            wait=wait_random(0.01, 0.3),
            reraise=True,
        )
        def expire(name: str = identifier) -> int:
            return _expire(catalog.load_table(name), datetime.now(UTC) - keep, dry_run=dry_run)

        expired = expire()
        # Readers that follow the hint must not be left with metadata that goes.
        table = catalog.load_table(identifier) if dry_run else publish_hint(catalog, identifier)
        files = list(_unnamed(table, datetime.now(UTC) - age))
        table = catalog.load_table(identifier)
        for path, _ in () if dry_run else files:
            table.io.delete(path)
        found.append(
            Upkeep(
                table=cold.name,
                expired_snapshots=expired,
                removed_files=len(files),
                bytes=sum(size for _, size in files),
            )
        )
    return found


def _expire(table: Table, before: datetime, *, dry_run: bool) -> int:
    kept = {ref.snapshot_id for ref in table.metadata.refs.values()}
    old = [
        snapshot.snapshot_id
        for snapshot in table.metadata.snapshots
        if snapshot.snapshot_id not in kept and snapshot.timestamp_ms < before.timestamp() * 1000
    ]
    if old and not dry_run:
        table.maintenance.expire_snapshots().by_ids(old).commit()
    return len(old)


def _unnamed(table: Table, before: datetime) -> Iterable[tuple[str, int]]:
    """Files under the table's folder that no snapshot and no metadata file kept names, and their sizes."""
    # The listing comes first: what is written after it is not in it, what is committed after it is not in `named`
    # but younger than `before`.
    listed = list(list_files(table, table.location()))
    named = referenced_files(table) | _metadata_files(table)
    for path, info in listed:
        if path not in named and info.mtime is not None and info.mtime < before:
            yield path, info.size


def _metadata_files(table: Table) -> set[str]:
    kept = {hint_path(table), table.metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)}
    for snapshot in table.metadata.snapshots:
        kept.add(snapshot.manifest_list)
        kept |= {manifest.manifest_path for manifest in snapshot.manifests(table.io)}
    return kept | {statistics.statistics_path for statistics in table.metadata.statistics}
