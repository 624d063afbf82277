"""Replaces files of a cold table by others with the same rows: merges small files, and separates merged hours.

A merged file holds several hours. Before an hour is replaced (by a run that found more rows, or by a re-derivation),
`separate_hours` puts its rows into files of their own. All other code works on the folders of slices.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pyiceberg.conversions import from_bytes
from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from config.process.retry import retry_on_conflict
from offload.clickhouse.checksums import Checksums, add_checksums, checksums_of, cold_sources
from offload.clickhouse.client import HotStore
from offload.clickhouse.templates import render
from offload.errors import BrokenExportError, CommitConflictError
from offload.files.commit import attempt_landed
from offload.files.data_files import LEASE_SECONDS, process_attempt, remove, remove_abandoned
from offload.files.export import select_of, slice_folder, write_query
from offload.tables.catalog import ColdTier
from offload.tables.cold_table import TIME, ColdTable
from offload.tables.slice_records import SUMMARY_ATTEMPT
from offload.tables.slices import Slice
from offload.tables.transaction import begin_transaction

ALWAYS_TRUE = AlwaysTrue()
SUMMARY_REASON = "medallion.swap"


@dataclass(frozen=True)
class TargetFile:
    """A file to write to `folder`: the rows that arrived in [from_us, to_us) (µs, UTC)."""

    from_us: int
    to_us: int
    folder: str


def compacted_folder(table: Table) -> str:
    """The folder of the files that hold several hours."""
    return f"{table.location()}/data/compacted"


def arrival_bounds(table: Table, cold: ColdTable, file: DataFile) -> tuple[int, int]:
    """Earliest and latest arrival in a file (µs, UTC), from its statistics.

    Raises:
        KeyError: the file has no statistics of the column.
    """
    number = table.schema().find_field(cold.arrival).field_id
    low, high = (from_bytes(TIME, bounds[number]) for bounds in (file.lower_bounds, file.upper_bounds))
    return int(low), int(high)


def replace_files(
    hot: HotStore, table: Table, cold: ColdTable, old: Sequence[DataFile], targets: Sequence[TargetFile], why: str
) -> list[DataFile]:
    """Write the rows of `old` to `targets`, check that they are the same rows, and commit the replacement.

    The spans of the targets must cover all arrivals in `old`. `why`: the reason in the snapshot's summary. Returns the
    new files. After an error nothing is committed and no new file stays.

    Raises:
        BrokenExportError: the new files hold other rows than the old ones.
        CommitConflictError: another process replaced one of the old files; load the table and try again.
        HotStoreError: ClickHouse failed, or cannot read the warehouse.
    """
    attempt, began = process_attempt(), time.monotonic()
    paths: list[str] = []
    new: list[DataFile] = []
    try:
        for number, target in enumerate(targets):
            paths.append(f"{target.folder}/{attempt}-{number:05d}.parquet")
            file = _write(hot, table, cold, old, target, paths[-1])
            if file.record_count:
                new.append(file)
            else:
                remove(table.io, paths.pop())
        _require_same_rows(hot, table, cold, old, new)
        _require_in_time(table, began)
    except BaseException:
        _remove_all(table, paths)
        raise
    try:
        _commit(table, attempt, old, new, why)
    except CommitConflictError:
        _remove_all(table, paths)
        raise
    return new


@retry_on_conflict(CommitConflictError)
def separate_hours(
    hot: HotStore,
    tier: ColdTier,
    cold: ColdTable,
    hours: Collection[Slice],
    within: BooleanExpression = ALWAYS_TRUE,
) -> Table:
    """Put the rows of `hours` into files of their own; returns the table. Readers see the same rows.

    `within`: only files that have such rows are separated.

    Raises:
        OffloadError: as `replace_files`.
    """
    table = tier.load(cold)
    wanted = sorted(hours)
    if not wanted:
        return table
    span = Slice(wanted[0].from_us, wanted[-1].to_us).predicate(cold)
    files = [task.file for task in table.scan(row_filter=And(span, within)).plan_files()]
    merged = [file for file in files if file.file_path.startswith(f"{compacted_folder(table)}/")]
    is_cut = False
    for file in merged:
        low, high = arrival_bounds(table, cold, file)
        targets = _targets(table, low, high + 1, wanted)
        if any(target.folder != compacted_folder(table) for target in targets):
            replace_files(hot, table, cold, [file], targets, "separate")
            is_cut = True
    return tier.load(cold) if is_cut else table


def remove_abandoned_merges(table: Table) -> list[str]:
    """Remove the merged files of processes that died before their commit; returns their paths.

    Raises:
        WarehouseError: the warehouse cannot be listed.
    """
    return remove_abandoned(table, compacted_folder(table), LEASE_SECONDS)


def _require_in_time(table: Table, began: float) -> None:
    """Refuse a late commit, whose files `remove_abandoned_merges` may have removed."""
    if time.monotonic() - began > LEASE_SECONDS / 2:
        raise CommitConflictError(f"Merging files of {table.name()} took too long: nothing was committed. Run again.")


def _remove_all(table: Table, paths: Sequence[str]) -> None:
    for path in paths:
        remove(table.io, path)


def _targets(table: Table, from_us: int, to_us: int, hours: Sequence[Slice]) -> list[TargetFile]:
    """Targets for [from_us, to_us): one for each of `hours` (sorted), and merged files for the time between them."""
    targets, at = [], from_us
    for part in hours:
        if part.to_us <= from_us or part.from_us >= to_us:
            continue
        if part.from_us > at:
            targets.append(TargetFile(at, part.from_us, compacted_folder(table)))
        targets.append(TargetFile(part.from_us, part.to_us, slice_folder(table, part)))
        at = part.to_us
    if at < to_us:
        targets.append(TargetFile(at, to_us, compacted_folder(table)))
    return targets


def _write(
    hot: HotStore, table: Table, cold: ColdTable, old: Sequence[DataFile], target: TargetFile, path: str
) -> DataFile:
    span = _span(target.from_us, target.to_us)
    source = "\nUNION ALL\n".join(_sources(hot, table, cold, old, span))
    return write_query(
        hot, table, render("rows_of_files.sql", source=source, arrival=cold.arrival, sort=cold.sort), span, path
    )


def _require_same_rows(
    hot: HotStore, table: Table, cold: ColdTable, old: Sequence[DataFile], new: Sequence[DataFile]
) -> None:
    if _checksums(hot, table, cold, old) != _checksums(hot, table, cold, new):
        rows = sum(file.record_count for file in old), sum(file.record_count for file in new)
        raise BrokenExportError(
            f"The {rows[1]:,} rows written for {len(old)} files of {table.name()} differ from their {rows[0]:,} rows:"
            " nothing was committed. See `medallion offload verify`."
        )


def _checksums(hot: HotStore, table: Table, cold: ColdTable, files: Sequence[DataFile]) -> Checksums:
    total: Checksums = {}
    span = _span(0, 0)
    for source in _sources(hot, table, cold, files, span):
        add_checksums(total, checksums_of(hot, cold, source, span, exact=True))
    return total


def _sources(
    hot: HotStore, table: Table, cold: ColdTable, files: Sequence[DataFile], span: Mapping[str, str | int]
) -> list[str]:
    return cold_sources(hot, table, [file.file_path for file in files], select_of(cold, partition=False), span)


def _span(from_us: int, to_us: int) -> dict[str, str | int]:
    return {"from_us": from_us, "to_us": to_us}


def _commit(table: Table, attempt: str, old: Sequence[DataFile], new: Sequence[DataFile], why: str) -> None:
    """Commit one snapshot; the commit fails if an old file is gone. Other commits meanwhile are no conflict."""
    summary = {SUMMARY_ATTEMPT: attempt, SUMMARY_REASON: why}
    try:
        with (
            begin_transaction(table) as transaction,
            transaction.update_snapshot(snapshot_properties=summary).overwrite() as snapshot,
        ):
            for file in old:
                snapshot.delete_data_file(file)
            for file in new:
                snapshot.append_data_file(file)
    except (ValidationException, CommitFailedException) as error:
        message = f"Another offloader replaced files of {table.name()} meanwhile: {error}. Run the same command again."
        raise CommitConflictError(message) from error
    except Exception:
        # The catalog may have accepted the commit although its answer was lost. If it has not, the files stay until
        # `remove_abandoned_merges`, since the catalog may still accept the commit later.
        if not attempt_landed(table.refresh(), attempt):
            raise
