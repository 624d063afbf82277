"""Commits one snapshot that replaces slices of a cold table, and removes the files of failed attempts.

Of two offloaders of one slice only one can succeed. The commit names the slice as its conflict predicate, so the second
commit fails validation. Offloaders of different slices do not conflict: pyiceberg repeats the second commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.expressions import AlwaysFalse, BooleanExpression, Or
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from offload.errors import CommitConflictError, WarehouseError
from offload.files.data_files import list_files, names_process, referenced_files, remove
from offload.files.export import Export, slice_folder
from offload.tables.cold_tables import ColdTable
from offload.tables.slice_records import SUMMARY_ATTEMPT, SUMMARY_SLICES, SliceRecord, ledger_properties, read_ledger
from offload.tables.slices import Slice
from offload.tables.transaction import begin_transaction


@dataclass(frozen=True)
class Replacement:
    """A slice's new files and its new record."""

    export: Export
    record: SliceRecord


def new_attempt() -> str:
    """The name of a new attempt at slices; the names of its files begin with it."""
    return uuid4().hex


def files_of(table: Table, cold: ColdTable, part: Slice) -> list[DataFile]:
    """The live files of a slice in the table's current snapshot.

    Raises:
        WarehouseError: a file holds rows of several slices; call `offload.files.replace.separate_hours` first.
    """
    folder = slice_folder(table, part)
    files = [task.file for task in table.scan(row_filter=part.predicate(cold)).plan_files()]
    for file in files:
        if not file.file_path.startswith(f"{folder}/"):
            message = f"{file.file_path} holds rows of {part.id} and of other slices. Nothing was replaced: run again."
            raise WarehouseError(message)
    return files


def replace_slices(
    table: Table,
    cold: ColdTable,
    attempt: str,
    replacements: Sequence[Replacement],
    more_properties: Mapping[str, str],
) -> Table:
    """Commit `replacements` in one overwrite snapshot and return the table after it.

    Load `table` before the first file of the attempt is written. Otherwise the commit of another offloader in between
    is no conflict. Without old and new files only properties are committed.

    Raises:
        CommitConflictError: another offloader replaced one of the slices; load the table and export again.
    """
    ledger = read_ledger(table.properties)
    parts = [replacement.export.part for replacement in replacements]
    old = [file for part in parts if part.id in ledger for file in files_of(table, cold, part)]
    new = [file for replacement in replacements for file in replacement.export.files]
    records = {replacement.export.part.id: replacement.record for replacement in replacements}
    summary = {SUMMARY_ATTEMPT: attempt, SUMMARY_SLICES: ",".join(part.id for part in parts)}
    try:
        with begin_transaction(table) as transaction:
            transaction.set_properties({**ledger_properties(records), **more_properties})
            if old or new:
                with transaction.update_snapshot(snapshot_properties=summary).overwrite() as snapshot:
                    snapshot.delete_by_predicate(_any_of(part.predicate(cold) for part in parts))
                    for file in old:
                        snapshot.delete_data_file(file)
                    for file in new:
                        snapshot.append_data_file(file)
    except (ValidationException, CommitFailedException) as error:
        message = f"Another offloader changed {table.name()} {summary[SUMMARY_SLICES]} meanwhile: {error}. Run again."
        raise CommitConflictError(message) from error
    return table


def attempt_landed(table: Table, attempt: str) -> bool:
    """Whether the table has the commit of `attempt`; load the table again before the call."""
    return attempt in _committed_attempts(table)


def files_of_other_attempts(table: Table, parts: Sequence[Slice], attempt: str) -> list[str]:
    """Files of other attempts at these slices, for `remove_uncommitted` after the commit of `attempt`.

    Files whose names have the process that wrote them are left out: a merge or a re-derivation that is still running
    may commit them beside `attempt`. They are removed when that process is dead (`offload.files.data_files`).
    """
    others = []
    for part in parts:
        files = list_files(table, slice_folder(table, part), recursive=False)
        others += [path for path, _ in files if _attempt_of(path) != attempt and not names_process(path)]
    return others


def remove_uncommitted(table: Table, candidates: Sequence[str]) -> list[str]:
    """Delete the candidates that no snapshot names; returns their paths.

    This is safe while another offloader of the same slice runs. Its files were listed before our commit, so it loaded
    the table before our commit, and its own commit must fail.
    """
    committed = _committed_attempts(table)
    dead = [path for path in candidates if _attempt_of(path) not in committed]
    if dead:
        # The snapshot that added a file may have expired while a pinned snapshot still names the file.
        named = referenced_files(table)
        dead = [path for path in dead if path not in named]
    for path in dead:
        remove(table.io, path)
    return dead


def _committed_attempts(table: Table) -> set[str]:
    named = {record.attempt for record in read_ledger(table.properties).values()}
    for snapshot in table.metadata.snapshots:
        attempt = snapshot.summary[SUMMARY_ATTEMPT] if snapshot.summary else None
        if attempt:
            named.add(attempt)
    return named


def _attempt_of(path: str) -> str:
    return path.rpartition("/")[2].partition("-")[0]


def _any_of(predicates: Iterable[BooleanExpression]) -> BooleanExpression:
    result: BooleanExpression = AlwaysFalse()
    for predicate in predicates:
        result = Or(result, predicate)
    return result
