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
from offload.rederive.bronze import BronzeHourReport, BronzeRederivation, RederivedHour
from offload.rederive.hot_bronze import HotBronze
from offload.rederive.run import DayReport, OnRederive, days_between, rederive
from offload.tables.catalog import ensure_tables, open_catalog
from offload.tables.slices import DAY_US, GRACE_US, Slice, instant

OnBronzeHour = Callable[[BronzeHourReport, int, int], None]


class RawReport(BaseModel):
    """`bronze`: the arrival hours that were looked at; `bronze_published`: hot partitions of it that were replaced."""

    model_config = ConfigDict(frozen=True)

    bronze: tuple[BronzeHourReport, ...]
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
    on_hour: OnBronzeHour = lambda _report, _number, _total: None,
    progress: OnRederive = lambda _: None,
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
    bronze = BronzeRederivation(catalog, settings.iceberg_namespace, store, exchange)
    wanted |= bronze.pending_days()
    reports: list[BronzeHourReport] = []
    changed: list[RederivedHour] = []
    with tempfile.TemporaryDirectory(prefix="medallion-rebronze-") as folder:
        hours = bronze.hours(Slice(days[0].from_us, days[-1].to_us)) if days else []
        for number, part in enumerate(hours):
            place = Path(folder) / f"{number}"
            place.mkdir()
            one = bronze.rederive_hour(part, place)
            reports.append(one.report)
            on_hour(one.report, number + 1, len(hours))
            if one.changes:
                wanted |= one.days
                changed.append(one)
                if not dry_run:
                    bronze.commit(one)
        published = [] if dry_run else HotBronze(catalog, settings.iceberg_namespace, store).replace_pending()
        over = now_us(store) - GRACE_US
        done = {day for day in wanted if day + DAY_US <= over}
        spans = [(instant(day), instant(day + DAY_US)) for day in sorted(done)]
        rederived_hours = {one.part.from_us: [path for _, path in one.files] for one in changed} if dry_run else {}
        found: dict[tuple[str, str], DayReport] = {}
        # A trade that moved from one day to another can only be added when it has left the first.
        for _ in range(2 if any(one.moved for one in changed) and not dry_run else 1):
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
                    rederived_hours=rederived_hours,
                ):
                    key = report.exchange, report.day
                    found[key] = _sum_of_passes(found[key], report) if key in found else report
        if not dry_run:
            bronze.clear_pending(done & bronze.pending_days())
    return RawReport(bronze=tuple(reports), bronze_published=tuple(published), days=tuple(found.values()))


def _sum_of_passes(first: DayReport, second: DayReport) -> DayReport:
    """What both passes did."""
    names = ("added", "removed", "altered", "letters_resolved", "letters_added")
    sums = {name: getattr(first, name) + getattr(second, name) for name in names}
    frames = {frame: max(count, second.candles_altered[frame]) for frame, count in first.candles_altered.items()}
    published = tuple(dict.fromkeys([*first.published, *second.published]))
    return second.model_copy(update={**sums, "candles_altered": frames, "published": published})
