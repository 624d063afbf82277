"""Finds what today's rules change in one exchange and day, bucket by bucket, so that memory is bounded."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from pyiceberg.expressions import And, EqualTo, In, Not
from pyiceberg.table import FileScanTask, Table

from offload.clickhouse.templates import render
from offload.difference.day import BRONZE_TABLE, SILVER, RederivedDay
from offload.difference.dead_letters import DeadLetterChanges
from offload.difference.hot_records import HotRecords, spill_suspects
from offload.difference.id_checksums import SILVER_COLUMNS, IdChecksums
from offload.difference.passes import SuspectRows, first_pass
from offload.difference.silver_difference import IDENTITY, REDERIVED_TOKEN, silver_difference
from offload.difference.spill import Spill, bucket_count, ensure_disk_space
from offload.files.scans import read_rows
from offload.tables.slice_records import offloaded_hours, open_hours
from offload.tables.slices import HOUR_US, Slice
from schemas.coordinates import COORDINATES
from schemas.records import BRONZE
from silver_processor.core.versions import HELD

_IDS_A_QUERY = 1000
_HOUR = pl.col("validated_at").dt.epoch("us") // HOUR_US * HOUR_US
_ROW_KEY = [*IDENTITY, *COORDINATES]
_VERSION_COLUMNS = HELD.names()


@dataclass
class DayChanges:
    """Differences between cold Silver and what today's rules make of cold Bronze.

    `tasks`: Silver's live files. `leaving_rows`: by the index of the file, a mask of the rows that leave. `new`: the
    rows that come, on disk by arrival hour (start, µs). `new_rows`, `leaving_hours`: how many rows come and leave, by
    that hour. `rows`: the rows of the day afterwards. `dead_letters`: the changes of dead letters and duplicates.
    `added`, `removed`, `altered`, `unfounded`: numbers of rows (see `SilverDifference`).
    """

    table: Table
    tasks: list[FileScanTask]
    leaving_rows: dict[int, npt.NDArray[np.bool_]]
    new: Spill
    dead_letters: DeadLetterChanges
    rows: int
    added: int = 0
    removed: int = 0
    altered: int = 0
    unfounded: int = 0
    new_rows: Counter[int] = field(default_factory=Counter)
    leaving_hours: Counter[int] = field(default_factory=Counter)

    @property
    def any(self) -> bool:
        """Whether a row comes, leaves or changes."""
        return bool(self.added or self.removed or self.altered)


def find_changes(day: RederivedDay, folder: Path) -> DayChanges | None:
    """Compare Silver with Bronze; None if the exchange has neither on that day.

    The first pass finds the suspect trade ids, the second compares only these. `folder` (empty): for rows that do not
    fit in memory.

    Raises:
        HotStoreError: ClickHouse failed.
        DiskSpaceError: the disk of `folder` is too small for the suspect rows.
    """
    table, bronze_table, checksums = day.load(SILVER), day.load(BRONZE_TABLE), IdChecksums()
    tasks, bronze = day.silver_tasks(table), day.bronze_parts(bronze_table)
    totals = first_pass(day, checksums, day.silver_parts(table, tasks, SILVER_COLUMNS), bronze)
    if not totals.silver_rows + totals.messages:
        return None
    records = HotRecords.fetch(day, totals.published, folder / "records")
    records.mark_suspects(checksums)
    ensure_disk_space(folder, checksums.suspect_rows, "re-derive one --exchange or --symbol at a time")
    buckets = bucket_count(checksums.suspect_rows)
    dead_letters = DeadLetterChanges(day, records, checksums, folder / "dead-letters", buckets)
    changes = DayChanges(table, tasks, {}, _new_rows(folder, table), dead_letters, totals.silver_rows)
    if buckets:
        silver = day.silver_parts(table, tasks, _column_names(table))
        suspects = SuspectRows(day, checksums, table, silver, bronze, totals.summed_symbols, folder, buckets)
        corrections = spill_suspects(records.corrections, checksums, folder / "corrections", buckets)
        for bucket in range(buckets):
            _compare_bucket(day, changes, suspects, corrections.read(bucket), bucket)
    changes.rows += changes.added - changes.removed
    return changes


def _compare_bucket(
    day: RederivedDay, changes: DayChanges, suspects: SuspectRows, corrections: pl.DataFrame, bucket: int
) -> None:
    silver, bronze = suspects.read(bucket)
    # A redelivered message may be in two arrival hours. Its earlier row counts.
    messages = bronze.sort("ingested_at", *COORDINATES[:3]).unique(COORDINATES, keep="first", maintain_order=True)
    rows = messages.to_arrow().cast(BRONZE)
    nothing = silver.select(_VERSION_COLUMNS).clear()
    difference = silver_difference(
        rows, silver, nothing, nothing.select(COORDINATES), day.rules, corrections, suspects.matches
    )
    rederived = silver.filter(pl.col("insert_token").str.starts_with(REDERIVED_TOKEN))
    may_be_elsewhere = pl.concat([difference.added.select(_VERSION_COLUMNS), rederived.select(_VERSION_COLUMNS)])
    if may_be_elsewhere.height or difference.unfounded.height:
        elsewhere = _elsewhere(day, changes.table, may_be_elsewhere)
        moved = _moved(day, difference.unfounded)
        difference = silver_difference(rows, silver, elsewhere, moved, day.rules, corrections, suspects.matches)
    leaving = pl.concat([difference.removed, difference.replaced])
    coming = pl.concat([difference.added, difference.altered])
    for (number,), part in leaving.group_by("file"):
        index = int(str(number))
        rows_of_file = changes.tasks[index].file.record_count
        mask = changes.leaving_rows.setdefault(index, np.zeros(rows_of_file, dtype=np.bool_))
        mask[part["row"].to_numpy()] = True
    changes.new.add(coming.select(_column_names(changes.table)))
    for counter, frame in ((changes.new_rows, coming), (changes.leaving_hours, leaving)):
        for start, count in frame.group_by(_HOUR.alias("hour")).len().iter_rows():
            counter[start] += count
    changes.added += difference.added.height
    changes.removed += difference.removed.height
    changes.altered += difference.altered.height
    changes.unfounded += difference.unfounded.height
    changes.dead_letters.add_bucket(difference, messages, bucket)


def _elsewhere(day: RederivedDay, silver: Table, wanted_rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of Silver with these identities on another day, or in hours that are not in Iceberg yet."""
    frames = [wanted_rows.clear()]
    wanted = wanted_rows.select(IDENTITY).unique()
    if wanted.height:
        symbols = wanted["symbol"].unique().sort().to_list()
        away = And(
            Not(day.rows_of_day()),
            And(EqualTo("exchange", day.part.key), In("symbol", symbols)),  # type: ignore[call-arg, arg-type]
        )
        for piece in read_rows(silver, away, _VERSION_COLUMNS):
            frames.append(piece.join(wanted, on=IDENTITY, how="semi"))
    opened = open_hours(silver.properties)
    hours = sorted(set(offloaded_hours(silver.properties)) - set(opened))
    sql = render("hot_trades_by_id.sql", hours=hours, open_hours=opened)
    for part in wanted.iter_slices(_IDS_A_QUERY):
        span: dict[str, str | int] = {
            "key": day.part.key,
            "event_from_us": day.part.from_us,
            "event_to_us": day.part.to_us,
        }
        rows = day.hot.rows(sql, {**span, "ids": part["trade_id"].to_list()})
        frame = pl.DataFrame(rows, schema={**wanted_rows.schema, "is_open": pl.Boolean})
        frame = frame.join(wanted, on=IDENTITY, how="semi")
        # In an hour that Iceberg has only in part, the row of the same message is the same row.
        others = frame.filter(~pl.col("is_open")).drop("is_open")
        newer = frame.filter("is_open").drop("is_open").join(wanted_rows, on=_ROW_KEY, how="anti")
        frames += [others, newer]
    return pl.concat(frames).unique()


def _moved(day: RederivedDay, unfounded: pl.DataFrame) -> pl.DataFrame:
    """The coordinates of the unfounded rows whose messages Bronze has on another day."""
    frames = [unfounded.select(COORDINATES).clear()]
    if unfounded.height:
        times = unfounded["ingested_at"].dt.epoch("us").to_list()
        arrived = Slice(min(times), max(times) + 1).between("ingested_at")
        for piece in read_rows(day.load(BRONZE_TABLE), And(Not(day.rows_of_day()), arrived), COORDINATES):
            frames.append(piece.join(unfounded, on=COORDINATES, how="semi"))
    return pl.concat(frames).unique()


def _column_names(table: Table) -> list[str]:
    return [field.name for field in table.schema().fields]


def _new_rows(folder: Path, table: Table) -> Spill:
    spill = Spill(folder / "new", 1, by=_HOUR)
    spill.add(pl.DataFrame(table.schema().as_arrow().empty_table()))
    return spill
