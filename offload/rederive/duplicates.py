"""Removes messages from cold.duplicate_trades that a re-derivation has made the trade, or dead letters."""

from __future__ import annotations

import polars as pl
from pyiceberg.expressions import And, EqualTo

from config.process.retry import retry_on_conflict
from offload.clickhouse.tiers import Tiers
from offload.difference.hot_records import DUPLICATES
from offload.errors import CommitConflictError
from offload.files.commit import Replacement, replace_slices
from offload.files.data_files import process_attempt
from offload.files.export import Export, slice_folder
from offload.files.replace import separate_hours
from offload.files.scans import read_rows
from offload.rederive.rewrite import write_file
from offload.tables.slice_records import read_ledger
from offload.tables.slices import HOUR_US, Slice, hour
from schemas.coordinates import COORDINATES


def remove_duplicates(tiers: Tiers, messages: pl.DataFrame) -> None:
    """Remove the rows of these messages (`COORDINATES`), hour by hour; their other columns may be anything.

    Call it after ClickHouse has lost them, or an offload could bring them back.

    Raises:
        CommitConflictError: other processes keep changing an hour; repeat the re-derivation.
    """
    if not messages.height:
        return
    times = messages["published_at"].dt.epoch("us")
    published = Slice(times.min(), times.max() + 1).between("published_at")  # type: ignore[arg-type, operator]
    hours: set[int] = set()
    for piece in read_rows(tiers.cold.load(DUPLICATES), published, [*COORDINATES, "seen_at"]):
        leaving = piece.join(messages, on=COORDINATES, how="semi")
        hours |= set((leaving["seen_at"].dt.epoch("us") // HOUR_US * HOUR_US).to_list())
    for start in sorted(hours):
        _rewrite(tiers, hour(start), messages)


@retry_on_conflict(CommitConflictError)
def _rewrite(tiers: Tiers, part: Slice, messages: pl.DataFrame) -> None:
    table, attempt = separate_hours(tiers.hot, tiers.cold, DUPLICATES, [part]), process_attempt()
    wanted = part.predicate(DUPLICATES)
    topics: set[str] = set()
    for piece in read_rows(table, wanted, COORDINATES):
        topics |= set(piece.join(messages, on=COORDINATES, how="anti")["raw_topic"])
    files = []
    for number, topic in enumerate(sorted(topics)):
        of_topic = And(wanted, EqualTo("raw_topic", topic))  # type: ignore[call-arg, arg-type]
        staying = (piece.join(messages, on=COORDINATES, how="anti") for piece in read_rows(table, of_topic))
        # A row group without rows has no statistics, which Iceberg needs.
        some = (piece for piece in staying if piece.height)
        files.append(write_file(table, f"{slice_folder(table, part)}/{attempt}-{number:05d}.parquet", some))
    export, known = Export(part, tuple(files)), read_ledger(table.properties)[part.id]
    # ClickHouse has as many rows less. With the old measure, an offload would take later rows of the hour for known.
    measure = max(0, known.measure - (known.rows - export.rows))
    record = known.model_copy(update={"attempt": attempt, "rows": export.rows, "measure": measure})
    replace_slices(table, DUPLICATES, attempt, [Replacement(export, record)], {})
