"""Small hourly files of a day that is over, merged into few files of about the target size, partition by partition.

Only hours that are complete are merged, and only days that are over, so that the offload rarely has to take an hour out
of a merged file again (`offload.files.replace.separate`). Gold is left alone: a partition of it is one file already.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict
from pyiceberg.catalog import Catalog
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from config.settings import Settings
from offload.clickhouse.client import ClickHouseHttp, HotStore
from offload.clickhouse.templates import render
from offload.errors import CommitConflictError
from offload.files.attempt import ATTEMPTS
from offload.files.replace import TargetFile, arrival_bounds, compacted_folder, replace_files, remove_abandoned_merges
from offload.tables.catalog import ensure_tables, open_catalog
from offload.tables.cold_tables import TABLES, ColdTable
from offload.tables.slice_records import SliceRecord, read_ledger
from offload.tables.slices import DAY_US, GRACE_US


class Compaction(BaseModel):
    """What was, or in a dry run would be, done to one table: `files` of `bytes` merged into `into` files.

    `conflicts`: merges that gave way to an offload and were not made good in this run; the next one looks again.
    """

    model_config = ConfigDict(frozen=True)

    table: str
    files: int = 0
    bytes: int = 0
    into: int = 0
    conflicts: int = 0


@dataclass(frozen=True)
class MergeGroup:
    """Files of one partition that become one; arrivals in [from_us, to_us) (µs, UTC)."""

    files: tuple[DataFile, ...]
    from_us: int
    to_us: int

    @property
    def size(self) -> int:
        """Bytes of the files."""
        return sum(file.file_size_in_bytes for file in self.files)


OnMerge = Callable[[str, MergeGroup], None]


def compact(
    settings: Settings,
    *,
    dry_run: bool = False,
    progress: OnMerge = lambda *_: None,
    hot: HotStore | None = None,
) -> list[Compaction]:
    """Merge the small files of every table that is sliced by hour; `progress` hears of each merge before it begins.

    Raises:
        OffloadError: ClickHouse, the catalog or the warehouse cannot be used; what was committed stays.
    """
    store: HotStore = hot or ClickHouseHttp(settings)
    catalog = open_catalog(settings)
    ensure_tables(catalog, settings.iceberg_namespace)
    now_us = int(store.rows(render("clock.sql"), {})[0]["now_us"])
    return [
        _compact(settings, store, catalog, cold, now_us, progress, dry_run=dry_run) for cold in TABLES if cold.arrival
    ]


def merge_groups(
    table: Table, cold: ColdTable, files: Iterable[DataFile], now_us: int, target_bytes: int, min_files: int
) -> list[MergeGroup]:
    """What to merge: files below half the target, of complete hours and days that are over, in order of arrival.

    `now_us`: µs since the epoch (UTC).
    """
    ledger = read_ledger(table.properties)
    partitions: dict[tuple[int, str], list[MergeGroup]] = defaultdict(list)
    for file in files:
        day, key = int(file.partition[0]), str(file.partition[1])
        small = file.file_size_in_bytes < target_bytes / 2
        if small and (day + 1) * DAY_US + GRACE_US <= now_us and _is_final(table, ledger, file.file_path):
            low, high = arrival_bounds(table, cold, file)
            partitions[day, key].append(MergeGroup((file,), low, high + 1))
    return [
        group
        for _, singles in sorted(partitions.items())
        for group in _packed(sorted(singles, key=lambda single: single.from_us), target_bytes)
        if len(group.files) >= min_files or (len(group.files) > 1 and group.size >= target_bytes / 2)
    ]


def _packed(singles: Iterable[MergeGroup], target_bytes: int) -> Iterable[MergeGroup]:
    """Neighbours in arrival together, as long as they fit one file."""
    held: list[MergeGroup] = []
    for single in singles:
        if held and sum(one.size for one in held) + single.size > target_bytes:
            yield _joined(held)
            held = []
        held.append(single)
    if held:
        yield _joined(held)


def _joined(held: list[MergeGroup]) -> MergeGroup:
    return MergeGroup(
        tuple(file for one in held for file in one.files),
        min(one.from_us for one in held),
        max(one.to_us for one in held),
    )


def _is_final(table: Table, ledger: Mapping[str, SliceRecord], path: str) -> bool:
    folder = path.removeprefix(f"{table.location()}/data/").partition("/")[0]
    if path.startswith(f"{compacted_folder(table)}/"):
        return True
    return folder in ledger and ledger[folder].final


def _compact(
    settings: Settings,
    hot: HotStore,
    catalog: Catalog,
    cold: ColdTable,
    now_us: int,
    progress: OnMerge,
    *,
    dry_run: bool,
) -> Compaction:
    files = size = into = conflicts = 0
    for _ in range(ATTEMPTS):
        table = catalog.load_table(f"{settings.iceberg_namespace}.{cold.name}")
        live = (task.file for task in table.scan().plan_files())
        conflicts = 0
        for group in merge_groups(table, cold, live, now_us, settings.offload_file_bytes, settings.compact_min_files):
            if not dry_run:
                progress(cold.name, group)
                if not _merge(hot, table, cold, group):
                    conflicts += 1
                    continue
            files, size, into = files + len(group.files), size + group.size, into + 1
        if not conflicts:
            break
    if not dry_run:
        remove_abandoned_merges(table)
    return Compaction(table=cold.name, files=files, bytes=size, into=into, conflicts=conflicts)


def _merge(hot: HotStore, table: Table, cold: ColdTable, group: MergeGroup) -> bool:
    """Whether the files could be exchanged; not if an offload replaced one of them meanwhile."""
    target = TargetFile(group.from_us, group.to_us, compacted_folder(table))
    try:
        replace_files(hot, table, cold, group.files, [target], "compact")
    except CommitConflictError:
        table.refresh()
        return False
    return True
