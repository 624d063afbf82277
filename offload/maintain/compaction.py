"""Merges the small hourly files of past days into a few files of about the target size, partition by partition.

It merges only complete hours of past days, so that the offload rarely has to separate an hour from a merged file
(`offload.files.replace.separate_hours`). Gold needs no merge, since each of its partitions is one file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from config.process.retry import CONFLICT_TRIES
from offload.clickhouse.client import HotStore
from offload.clickhouse.server import server_now_us
from offload.clickhouse.tiers import Tiers
from offload.errors import CommitConflictError
from offload.files.replace import TargetFile, arrival_bounds, compacted_folder, remove_abandoned_merges, replace_files
from offload.tables.cold_tables import TABLES, ColdTable
from offload.tables.slice_records import SliceRecord, read_ledger
from offload.tables.slices import DAY_US, GRACE_US


class Compaction(BaseModel):
    """One table: `files` of `bytes` were merged into `into` files; in a dry run, would be.

    `conflicts`: merges that lost against an offload each time; the next run tries again.
    """

    model_config = ConfigDict(frozen=True)

    table: str
    files: int = 0
    bytes: int = 0
    into: int = 0
    conflicts: int = 0


@dataclass(frozen=True)
class MergeGroup:
    """Files of one partition that are merged into one; their rows arrived in [from_us, to_us) (µs, UTC)."""

    files: tuple[DataFile, ...]
    from_us: int
    to_us: int

    @property
    def size(self) -> int:
        """Bytes of the files."""
        return sum(file.file_size_in_bytes for file in self.files)


OnMerge = Callable[[str, MergeGroup], None]


def compact(tiers: Tiers, *, dry_run: bool = False, progress: OnMerge = lambda *_: None) -> list[Compaction]:
    """Merge the small files of every table that is sliced by hour. `progress` is called before each merge.

    Raises:
        OffloadError: ClickHouse, the catalog or the warehouse fails; what was committed stays.
    """
    now_us = server_now_us(tiers.hot)
    return [_compact(tiers, cold, now_us, progress, dry_run=dry_run) for cold in TABLES if cold.arrival]


def merge_groups(
    table: Table, cold: ColdTable, files: Iterable[DataFile], now_us: int, target_bytes: int, min_files: int
) -> list[MergeGroup]:
    """The files to merge: smaller than half the target size, of complete hours of past days, in order of arrival.

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
    """Groups of files that follow each other in arrival and fit one file."""
    held: list[MergeGroup] = []
    for single in singles:
        if held and sum(group.size for group in held) + single.size > target_bytes:
            yield _joined(held)
            held = []
        held.append(single)
    if held:
        yield _joined(held)


def _joined(held: list[MergeGroup]) -> MergeGroup:
    return MergeGroup(
        tuple(file for group in held for file in group.files),
        min(group.from_us for group in held),
        max(group.to_us for group in held),
    )


def _is_final(table: Table, ledger: Mapping[str, SliceRecord], path: str) -> bool:
    folder = path.removeprefix(f"{table.location()}/data/").partition("/")[0]
    if path.startswith(f"{compacted_folder(table)}/"):
        return True
    return folder in ledger and ledger[folder].final


def _compact(tiers: Tiers, cold: ColdTable, now_us: int, progress: OnMerge, *, dry_run: bool) -> Compaction:
    settings = tiers.settings
    files = size = into = conflicts = 0
    for _ in range(CONFLICT_TRIES):
        table = tiers.cold.load(cold)
        live = (task.file for task in table.scan().plan_files())
        conflicts = 0
        for group in merge_groups(table, cold, live, now_us, settings.offload_file_bytes, settings.compact_min_files):
            if not dry_run:
                progress(cold.name, group)
                if not _merge(tiers.hot, table, cold, group):
                    conflicts += 1
                    continue
            files, size, into = files + len(group.files), size + group.size, into + 1
        if not conflicts:
            break
    if not dry_run:
        remove_abandoned_merges(table)
    return Compaction(table=cold.name, files=files, bytes=size, into=into, conflicts=conflicts)


def _merge(hot: HotStore, table: Table, cold: ColdTable, group: MergeGroup) -> bool:
    """Merge a group; False if an offload replaced one of its files meanwhile."""
    target = TargetFile(group.from_us, group.to_us, compacted_folder(table))
    try:
        replace_files(hot, table, cold, group.files, [target], "compact")
    except CommitConflictError:
        table.refresh()
        return False
    return True
