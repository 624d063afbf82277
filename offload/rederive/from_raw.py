"""A re-derivation that begins at cold Raw: Bronze by today's SQL, then Silver and Gold of every day that it touches."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from config.settings import Settings
from offload.clickhouse.client import ClickHouseHttp, HotStore
from offload.publish.pause import now_us
from offload.rederive.bronze import HourReport, Rebronze, Redrawn
from offload.rederive.hot_bronze import HotBronze
from offload.rederive.run import DayReport, OnStep, days_between, rederive
from offload.tables.catalog import ensure_tables, open_catalog
from offload.tables.slices import DAY_US, GRACE_US, Slice, instant

OnHour = Callable[[HourReport, int, int], None]


class RawReport(BaseModel):
    """`bronze`: the arrival hours that were looked at; `bronze_published`: hot partitions of it that were replaced."""

    model_config = ConfigDict(frozen=True)

    bronze: tuple[HourReport, ...]
    bronze_published: tuple[str, ...]
    days: tuple[DayReport, ...]


def rederive_from_raw(
    settings: Settings,
    start: datetime,
    end: datetime,
    *,
    exchange: str = "",
    symbol: str = "",
    dry_run: bool = False,
    mend_gold: bool = False,
    hot: HotStore | None = None,
    on_hour: OnHour = lambda _report, _number, _total: None,
    progress: OnStep = lambda _: None,
) -> RawReport:
    """As `offload.rederive.run.rederive`, after Bronze was made again for the arrival hours of these days.

    Bronze rows that move to or from a day outside the span take that day along. `symbol` concerns Silver and Gold.

    Raises:
        RebronzeError: Raw is not in Iceberg as far as Bronze is.
        OffloadError: as `rederive`.
    """
    store: HotStore = hot or ClickHouseHttp(settings)
    catalog = open_catalog(settings)
    ensure_tables(catalog, settings.iceberg_namespace)
    days = days_between(store, start, end)
    wanted = {day.from_us for day in days}
    redo = Rebronze(catalog, settings.iceberg_namespace, store, exchange)
    wanted |= redo.pending_days()
    reports: list[HourReport] = []
    drawn: list[Redrawn] = []
    with tempfile.TemporaryDirectory(prefix="medallion-rebronze-") as folder:
        hours = redo.hours(Slice(days[0].from_us, days[-1].to_us)) if days else []
        for number, part in enumerate(hours):
            place = Path(folder) / f"{number}"
            place.mkdir()
            one = redo.redraw(part, place)
            reports.append(one.report)
            on_hour(one.report, number + 1, len(hours))
            if one.changes:
                wanted |= one.days
                drawn.append(one)
                if not dry_run:
                    redo.commit(one)
        published = [] if dry_run else HotBronze(catalog, settings.iceberg_namespace, store).follow()
        over = now_us(store) - GRACE_US
        done = {day for day in wanted if day + DAY_US <= over}
        spans = [(instant(day), instant(day + DAY_US)) for day in sorted(done)]
        redrawn = {one.part.from_us: [path for _, path in one.files] for one in drawn} if dry_run else {}
        found: dict[tuple[str, str], DayReport] = {}
        # A trade that moved from one day to another can only be added when it has left the first.
        for _ in range(2 if any(one.moved for one in drawn) and not dry_run else 1):
            for begin, close in spans:
                for report in rederive(
                    settings,
                    begin,
                    close,
                    exchange=exchange,
                    symbol=symbol,
                    dry_run=dry_run,
                    mend_gold=mend_gold,
                    hot=store,
                    progress=progress,
                    redrawn=redrawn,
                ):
                    key = report.exchange, report.day
                    found[key] = _together(found[key], report) if key in found else report
        if not dry_run:
            redo.followed(done & redo.pending_days())
    return RawReport(bronze=tuple(reports), bronze_published=tuple(published), days=tuple(found.values()))


def _together(first: DayReport, second: DayReport) -> DayReport:
    """What both passes did."""
    names = ("added", "removed", "altered", "letters_resolved", "letters_added")
    sums = {name: getattr(first, name) + getattr(second, name) for name in names}
    frames = {frame: max(count, second.candles_altered[frame]) for frame, count in first.candles_altered.items()}
    published = tuple(dict.fromkeys([*first.published, *second.published]))
    return second.model_copy(update={**sums, "candles_altered": frames, "published": published})
