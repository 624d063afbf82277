"""Re-derives from cold Raw: Bronze by today's SQL, then Silver and Gold of every day that changes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ddl.readers import is_readers_database
from offload.clickhouse.server import server_now_us
from offload.clickhouse.tiers import Tiers
from offload.rederive.bronze import BronzeHourReport, BronzeRederivation, BronzeRederiveError, HotBronze, RederivedHour
from offload.rederive.run import DayReport, OnRederive, days_between, rederivation
from offload.tables.slices import DAY_US, GRACE_US, Slice

OnBronzeHour = Callable[[BronzeHourReport, int, int], None]


class RawReport(BaseModel):
    """`bronze`: the arrival hours that were compared. `bronze_published`: hot partitions that were replaced."""

    model_config = ConfigDict(frozen=True)

    bronze: tuple[BronzeHourReport, ...]
    bronze_published: tuple[str, ...]
    days: tuple[DayReport, ...]


def rederive_from_raw(
    tiers: Tiers,
    start: datetime,
    end: datetime,
    *,
    exchange: str = "",
    symbol: str = "",
    dry_run: bool = False,
    mend_gold: bool = False,
    on_hour: OnBronzeHour = lambda _report, _number, _total: None,
    progress: OnRederive = lambda _: None,
) -> RawReport:
    """Re-derive Bronze for the arrival hours of these days, then Silver and Gold (`offload.rederive.run.rederive`).

    A day outside the span is re-derived too if a Bronze row moves to or from it. `symbol` only limits Silver and Gold.

    Raises:
        BronzeRederiveError: the hot tables are over shards, also for a dry run; or Iceberg lacks Raw of an hour that it
            has Bronze of.
        OffloadError: as `rederive`.
    """
    if is_readers_database(tiers.settings):
        raise BronzeRederiveError(
            "Nothing was changed. A shard has the Bronze rows of the messages that it read from Kafka, and Iceberg "
            "does not say which these are. So Bronze is made again on one server only. Leave out `--from-layer raw`: "
            "then Silver and Gold are made again from Bronze."
        )
    days = days_between(tiers.hot, start, end)
    wanted = {day.from_us for day in days}
    bronze = BronzeRederivation(tiers, exchange)
    silver = rederivation(
        tiers, exchange=exchange, symbol=symbol, dry_run=dry_run, mend_gold=mend_gold, progress=progress
    )
    wanted |= bronze.pending_days()
    reports: list[BronzeHourReport] = []
    changed: list[RederivedHour] = []
    with tempfile.TemporaryDirectory(prefix="medallion-rederive-bronze-") as folder:
        hours = bronze.hours(Slice(days[0].from_us, days[-1].to_us)) if days else []
        for number, part in enumerate(hours):
            place = Path(folder) / f"{number}"
            place.mkdir()
            hour = bronze.rederive_hour(part, place)
            reports.append(hour.report)
            on_hour(hour.report, number + 1, len(hours))
            if hour.changes:
                wanted |= hour.days
                changed.append(hour)
                if not dry_run:
                    bronze.commit(hour)
        published = [] if dry_run else HotBronze(tiers).replace_pending()
        over_us = server_now_us(tiers.hot) - GRACE_US
        closed = {day for day in wanted if day + DAY_US <= over_us}
        rederived_hours = {hour.part.from_us: [path for _, path in hour.files] for hour in changed} if dry_run else {}
        day_reports: dict[tuple[str, str], DayReport] = {}
        # A trade that moves to another day can only be added there after it has left the first day.
        for _ in range(2 if any(hour.moved for hour in changed) and not dry_run else 1):
            for day_us in sorted(closed):
                for report in silver.run([Slice(day_us, day_us + DAY_US)], rederived_hours):
                    key = report.exchange, report.day
                    known = day_reports.get(key)
                    day_reports[key] = _sum_of_passes(known, report) if known else report
        if not dry_run:
            bronze.clear_pending(closed & bronze.pending_days())
    return RawReport(bronze=tuple(reports), bronze_published=tuple(published), days=tuple(day_reports.values()))


def _sum_of_passes(first: DayReport, second: DayReport) -> DayReport:
    """The changes of both passes over a day."""
    names = ("added", "removed", "altered", "letters_resolved", "letters_added")
    sums = {name: getattr(first, name) + getattr(second, name) for name in names}
    frames = {frame: max(count, second.candles_altered[frame]) for frame, count in first.candles_altered.items()}
    published = tuple(dict.fromkeys([*first.published, *second.published]))
    return second.model_copy(update={**sums, "candles_altered": frames, "published": published})
