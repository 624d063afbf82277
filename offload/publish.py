"""Corrected Silver and Gold of one exchange and day into the hot tables, partition by partition.

Everything is prepared in twin tables. The partitions are prepared and replaced while inserts into Silver fail and are
repeated by the workers, so no live row can come between preparing and replacing; that pause ends by itself, should
this process die. A reader of a table sees all of its old partition or all of its new one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pyiceberg.table import Table
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from ddl.layers import load_layers
from offload.compare import Sums, add_sums, cold_sources, sums_of
from offload.errors import OffloadError
from offload.export import select_of
from offload.hot import HotStore
from offload.ledger import read_ledger
from offload.lineage import EARLIEST_US, LATEST_US
from offload.slices import SECOND_US, Slice, hot_partition, instant, parse_hour_id
from offload.tables import TABLES, ColdTable
from offload.templates import render

PAUSE_SECONDS = 30
# What must be left of the pause when the first partition is replaced.
MARGIN_SECONDS = 10


class PublishError(OffloadError):
    """The hot tables could not be replaced in time; they are as they were, Iceberg has the corrected rows."""


def publish(hot: HotStore, table: Table, cold: ColdTable, part: Slice, paths: list[str]) -> list[str]:
    """Replace the hot rows of `part` (an exchange and day) by those of the cold Silver files; names what was replaced.

    Partitions that are not hot any more are left alone.

    Raises:
        PublishError: preparing took longer than the pause.
        HotStoreError: ClickHouse failed.
    """
    day = f"{instant(part.from_us):%Y%m%d}"
    span, hours = _span(part), _offloaded(table)
    tables = [name for name in _targets() if _partition(hot, name, part)]
    with _pause(hot) as ends:
        for name in ("silver_trades", *tables):
            hot.command(render("truncate.sql", table=f"{name}_staged"), {})
        hot.command(render("staged_hot.sql", hours=hours), span)
        select = select_of(cold, partition=False)
        for source in cold_sources(hot, table, paths, select, span):
            names = [name for name, _, _ in cold.columns]
            hot.command(render("staged_cold.sql", columns=names, source=source), span)
        for name, view in _targets().items():
            if name in tables and view:
                found = hot.rows(render("view_query.sql"), {"view": view})[0]
                query = found["as_select"].replace(
                    f"{found['db']}.silver_trades", f"{found['db']}.silver_trades_staged"
                )
                partition = {"partition": _partition(hot, name, part)}
                hot.command(render("staged_gold_kept.sql", table=name), {**span, **partition})
                hot.command(render("staged_gold_new.sql", table=name, view_query=query), span)
        if ends - time.monotonic() < MARGIN_SECONDS:
            raise PublishError(
                f"Preparing {part.id} took too long to publish it in one pause: run again when it is quiet."
            )
        for name in tables:
            hot.command(render("replace_partition.sql", table=name), {"partition": _partition(hot, name, part)})
    return [f"{name}/{day}" for name in tables]


def is_published(hot: HotStore, tables: Mapping[str, Table], part: Slice) -> bool:
    """Whether the hot rows of an exchange and day, as far as they are hot, are those of Iceberg.

    `tables`: cold Silver and Gold by name. Hours that are not offloaded yet do not count.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    hours = _offloaded(tables["silver_trades"])
    for cold in TABLES:
        if cold.layer not in {"silver", "gold"}:
            continue
        state = cold.hot if cold.layer == "silver" else f"{cold.hot}_state"
        if not _partition(hot, state, part):
            continue
        span = _span(part)
        if cold.layer == "gold":
            span |= {"from_us": part.from_us, "to_us": part.to_us, "until_us": LATEST_US}
        select = select_of(cold, partition=False, event_day=True)
        chosen = hours if cold.layer == "silver" else []
        here = sums_of(hot, cold, render("day_hot.sql", select=select, hours=chosen), span)
        table = tables[cold.name]
        paths = [task.file.file_path for task in table.scan(row_filter=part.between(cold.hot_event)).plan_files()]
        there: Sums = {}
        for source in cold_sources(hot, table, paths, select, span):
            names = {"event": cold.hot_event, "arrival": cold.arrival, "hours": [], "key": part.key}
            add_sums(there, sums_of(hot, cold, render("cold_part.sql", source=source, **names), span))
        if here != there:
            return False
    return True


def _span(part: Slice) -> dict[str, str | int | list[str]]:
    return {
        "key": part.key,
        "event_from_us": part.from_us,
        "event_to_us": part.to_us,
        "from_us": EARLIEST_US,
        "to_us": LATEST_US,
    }


def _offloaded(silver: Table) -> list[int]:
    """Starts (s) of the arrival hours that Iceberg has."""
    return [parse_hour_id(name).from_us // SECOND_US for name in read_ledger(silver.properties)]


def _targets() -> dict[str, str]:
    """Hot tables and the view that makes their rows of Silver's; Silver itself has none."""
    frames = load_layers().timeframes
    return {"silver_trades": "", **{frame.state_table: frame.materialized_view for frame in frames}}


def _partition(hot: HotStore, table: str, part: Slice) -> str:
    """The id of the hot partition that holds the day, or nothing if there is none."""
    for row in hot.rows(render("hot_partitions.sql"), {"table": table}):
        partition = hot_partition(row["partition_id"])
        if partition.from_us <= part.from_us < partition.to_us:
            return str(row["partition_id"])
    return ""


@contextmanager
def _pause(hot: HotStore) -> Iterator[float]:
    """Inserts into Silver wait; gives the moment (monotonic clock, s) at which they no longer do."""
    now_us = int(hot.rows(render("clock.sql"), {})[0]["now_us"])
    ends = time.monotonic() + PAUSE_SECONDS
    hot.command(render("resume.sql"), {})
    hot.command(render("pause.sql", until_s=now_us // SECOND_US + PAUSE_SECONDS + 1), {})
    try:
        _wait_for_inserts(hot)
        yield ends
    finally:
        hot.command(render("resume.sql"), {})


def _wait_for_inserts(hot: HotStore) -> None:
    waiting = Retrying(
        retry=retry_if_result(lambda count: count > 0),
        stop=stop_after_delay(PAUSE_SECONDS - MARGIN_SECONDS),
        wait=wait_fixed(0.05),
    )
    try:
        waiting(lambda: int(hot.rows(render("inserts_under_way.sql"), {})[0]["under_way"]))
    except RetryError as error:
        raise PublishError("An insert into Silver does not end: run again when it has.") from error
