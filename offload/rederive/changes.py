"""What today's rules change in one exchange and day, found bucket by bucket in bounded memory."""

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
from offload.difference.balance import WEIGHED, Balance
from offload.difference.day import BRONZE_TABLE, SILVER, Work
from offload.difference.dead_letters import Mail
from offload.difference.doubted import Doubted
from offload.difference.known import Known, spilled
from offload.difference.outcome import COORDINATES, IDENTITY, MARK, redo
from offload.difference.spill import Spill, bucket_count, ensure_room
from offload.difference.weigh import weigh
from offload.files.scans import read_rows
from offload.publish.published import offloaded_hours, open_hours
from offload.tables.slices import HOUR_US, Slice
from schemas.records import BRONZE
from silver_processor.core.versions import HELD

_IDS_A_QUERY = 1000
_HOUR = pl.col("validated_at").dt.epoch("us") // HOUR_US * HOUR_US
_PLACED = [*IDENTITY, *COORDINATES]
_VERSION = HELD.names()


@dataclass
class Changes:
    """Differences between cold Silver and what today's rules make of cold Bronze.

    `tasks`: Silver's live files; `gone`: of each file (by index) the rows that leave; `new`: rows that come, spilled
    by arrival hour (start, µs), `new_rows` and `gone_rows` their numbers by hour. `rows`: so many there are then.
    `mail`: what the changes mean for dead letters and duplicates.
    """

    table: Table
    tasks: list[FileScanTask]
    gone: dict[int, npt.NDArray[np.bool_]]
    new: Spill
    mail: Mail
    rows: int
    added: int = 0
    removed: int = 0
    altered: int = 0
    unfounded: int = 0
    new_rows: Counter[int] = field(default_factory=Counter)
    gone_rows: Counter[int] = field(default_factory=Counter)

    @property
    def any(self) -> bool:
        """Whether a row comes, goes or changes."""
        return bool(self.added or self.removed or self.altered)


def find_changes(work: Work, folder: Path) -> Changes | None:
    """Compare; `folder` (empty) takes what does not fit in memory. None if there is nothing of this exchange and day.

    All is read once to tell the trade ids in doubt; where there are any, once more to judge these.

    Raises:
        HotStoreError: ClickHouse failed.
        NoRoomError: the disk of `folder` is too small for the rows in doubt.
    """
    table, bronze_table, balance = work.load(SILVER), work.load(BRONZE_TABLE), Balance()
    tasks, bronze = work.silver_tasks(table), work.bronze_parts(bronze_table)
    met = weigh(work, balance, work.silver_parts(table, tasks, WEIGHED), bronze)
    if not met.silver_rows + met.messages:
        return None
    known = Known.fetch(work, met.published, folder / "known")
    known.doubt(balance)
    ensure_room(folder, balance.rows_in_doubt)
    buckets = bucket_count(balance.rows_in_doubt)
    mail = Mail(work, known, balance, folder / "mail", buckets)
    found = Changes(table, tasks, {}, _new_rows(folder, table), mail, met.silver_rows)
    if buckets:
        silver = work.silver_parts(table, tasks, _names(table))
        doubted = Doubted(work, balance, table, silver, bronze, met.summed, folder, buckets)
        corrections = spilled(known.corrections, balance, folder / "corrections", buckets)
        for bucket in range(buckets):
            _judge(work, found, doubted, corrections.read(bucket), bucket)
    found.rows += found.added - found.removed
    return found


def _judge(
    work: Work,
    found: Changes,
    doubted: Doubted,
    corrections: pl.DataFrame,
    bucket: int,
) -> None:
    silver, bronze = doubted.read(bucket)
    # A redelivery is in two windows: the earlier one is the message.
    messages = bronze.sort("ingested_at", *COORDINATES[:3]).unique(COORDINATES, keep="first", maintain_order=True)
    rows = messages.to_arrow().cast(BRONZE)
    nothing = silver.select(_VERSION).clear()
    redone = redo(rows, silver, nothing, nothing.select(COORDINATES), work.rules, corrections, doubted.sums)
    suspects = pl.concat(
        [redone.added.select(_VERSION), silver.filter(pl.col("insert_token").str.starts_with(MARK)).select(_VERSION)]
    )
    if suspects.height or redone.unfounded.height:
        elsewhere = _elsewhere(work, found.table, suspects)
        moved = _moved(work, redone.unfounded)
        redone = redo(rows, silver, elsewhere, moved, work.rules, corrections, doubted.sums)
    leaving = pl.concat([redone.removed, redone.replaced])
    coming = pl.concat([redone.added, redone.altered])
    for (number,), part in leaving.group_by("file"):
        index = int(str(number))
        mask = found.gone.setdefault(index, np.zeros(found.tasks[index].file.record_count, dtype=np.bool_))
        mask[part["row"].to_numpy()] = True
    found.new.add(coming.select(_names(found.table)))
    for counter, frame in ((found.new_rows, coming), (found.gone_rows, leaving)):
        for start, count in frame.group_by(_HOUR.alias("hour")).len().iter_rows():
            counter[start] += count
    found.added += redone.added.height
    found.removed += redone.removed.height
    found.altered += redone.altered.height
    found.unfounded += redone.unfounded.height
    found.mail.sort_out(redone, messages, bucket)


def _elsewhere(work: Work, silver: Table, suspects: pl.DataFrame) -> pl.DataFrame:
    """Rows of these identities that Silver has on another day, or in hours that are not in Iceberg yet."""
    found = [suspects.clear()]
    wanted = suspects.select(IDENTITY).unique()
    if wanted.height:
        symbols = wanted["symbol"].unique().sort().to_list()
        away = And(
            Not(work.rows_of_day()),
            And(EqualTo("exchange", work.part.key), In("symbol", symbols)),  # type: ignore[call-arg, arg-type]
        )
        for piece in read_rows(silver, away, _VERSION):
            found.append(piece.join(wanted, on=IDENTITY, how="semi"))
    opened = open_hours(silver)
    hours = sorted(set(offloaded_hours(silver)) - set(opened))
    sql = render("hot_identities.sql", hours=hours, open_hours=opened)
    for part in wanted.iter_slices(_IDS_A_QUERY):
        span: dict[str, str | int] = {
            "key": work.part.key,
            "event_from_us": work.part.from_us,
            "event_to_us": work.part.to_us,
        }
        rows = work.hot.rows(sql, {**span, "ids": part["trade_id"].to_list()})
        frame = pl.DataFrame(rows, schema={**suspects.schema, "is_open": pl.Boolean})
        frame = frame.join(wanted, on=IDENTITY, how="semi")
        # Of an hour that Iceberg has in part, the very message is no other row.
        others = frame.filter(~pl.col("is_open")).drop("is_open")
        newer = frame.filter("is_open").drop("is_open").join(suspects, on=_PLACED, how="anti")
        found += [others, newer]
    return pl.concat(found).unique()


def _moved(work: Work, unfounded: pl.DataFrame) -> pl.DataFrame:
    """Those of the rows' messages that Bronze has on another day."""
    found = [unfounded.select(COORDINATES).clear()]
    if unfounded.height:
        times = unfounded["ingested_at"].dt.epoch("us").to_list()
        arrived = Slice(min(times), max(times) + 1).between("ingested_at")
        for piece in read_rows(work.load(BRONZE_TABLE), And(Not(work.rows_of_day()), arrived), COORDINATES):
            found.append(piece.join(unfounded, on=COORDINATES, how="semi"))
    return pl.concat(found).unique()


def _names(table: Table) -> list[str]:
    return [field.name for field in table.schema().fields]


def _new_rows(folder: Path, table: Table) -> Spill:
    spill = Spill(folder / "new", 1, by=_HOUR)
    spill.add(pl.DataFrame(table.schema().as_arrow().empty_table()))
    return spill
