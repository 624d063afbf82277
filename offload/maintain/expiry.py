"""Expires snapshots of the cold tables and removes files that no snapshot names.

pyiceberg expires snapshots but deletes no files. An offloader writes its files before its commit names them. So a file
is removed only if no remaining snapshot names it and it is older than any commit under way.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table

from config.process.retry import retry_on_conflict
from offload.files.data_files import list_files, referenced_files
from offload.files.version_hint import hint_path, publish_hint
from offload.tables.catalog import ColdTier
from offload.tables.cold_tables import TABLES, ColdTable


class TableMaintenance(BaseModel):
    """The maintenance of one cold table: expired snapshots, and removed files with their `bytes`.

    In a dry run: the snapshots that would expire, and the files that would be removed. Files that only those snapshots
    name are not counted.
    """

    model_config = ConfigDict(frozen=True)

    table: str
    expired_snapshots: int
    removed_files: int
    bytes: int


def maintain(
    tier: ColdTier,
    *,
    expire_after: timedelta | None = None,
    orphan_age: timedelta | None = None,
    dry_run: bool = False,
) -> list[TableMaintenance]:
    """Expire snapshots older than `expire_after`, except current and pinned ones, then remove unnamed files.

    Without them, both ages are those of the settings (`snapshot_keep_days`, `orphan_keep_days`).

    Raises:
        OffloadError: the catalog or the warehouse fails.
    """
    settings = tier.settings
    keep = timedelta(days=settings.snapshot_keep_days) if expire_after is None else expire_after
    age = timedelta(days=settings.orphan_keep_days) if orphan_age is None else orphan_age
    return [_maintain(tier, cold, keep, age, dry_run=dry_run) for cold in TABLES]


def _maintain(tier: ColdTier, cold: ColdTable, keep: timedelta, age: timedelta, *, dry_run: bool) -> TableMaintenance:
    expired = _expire(tier, cold, datetime.now(UTC) - keep, dry_run=dry_run)
    # Without the new hint, readers that follow it would look for metadata that is removed.
    table = tier.load(cold) if dry_run else publish_hint(tier, cold)
    files = list(_unnamed(table, datetime.now(UTC) - age))
    table = tier.load(cold)
    for path, _ in () if dry_run else files:
        table.io.delete(path)
    return TableMaintenance(
        table=cold.name, expired_snapshots=expired, removed_files=len(files), bytes=sum(size for _, size in files)
    )


@retry_on_conflict(CommitFailedException)
def _expire(tier: ColdTier, cold: ColdTable, before: datetime, *, dry_run: bool) -> int:
    table = tier.load(cold)
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
    """Files in the table's folder that no snapshot and no current metadata names, and their sizes (bytes)."""
    # The files are listed first, so files that are written later are left out. A file that is committed later is not in
    # `named`, but it is younger than `before`.
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
