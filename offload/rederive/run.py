"""Re-derivation: Silver and Gold again from cold Bronze by today's rules, one exchange and day at a time.

Each step compares what there is with what there should be and does only what is missing, so a re-derivation that was
killed is finished by the next one, and one that is repeated changes nothing. A day's Silver is replaced by one
snapshot; the version before it stays readable through its own until it expires, or for good through a pin.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from pyiceberg.catalog import Catalog

from config.registry import SymbolRegistry
from config.settings import Settings
from offload.clickhouse.client import ClickHouseHttp, HotStore
from offload.clickhouse.templates import render
from offload.difference.day import RederivedDay
from offload.difference.dead_letter_sender import DeadLetterSender
from offload.errors import OffloadError
from offload.files.data_files import remove_abandoned
from offload.files.scans import lean_arrow
from offload.publish.publisher import ArrivedMeanwhileError, DayPublisher
from offload.publish.published import is_published
from offload.difference.changes import DayChanges, find_changes
from offload.difference.day_candles import DayCandles
from offload.rederive.rewrite import rewrite_gold, rewrite_silver
from offload.retention import union_views
from offload.tables.catalog import ensure_tables, open_catalog
from offload.tables.cold_tables import TABLES
from offload.tables.slices import DAY_US, GRACE_US, Slice, instant, micros
from silver_processor.core.rules import Rules

# Live trades that come while they are added make the day be looked at again.
ATTEMPTS = 3


class RederiveError(OffloadError):
    """The span cannot be re-derived; the message says why."""


class DayReport(BaseModel):
    """What today's rules change in one exchange and day (UTC, event time).

    Rows of Silver `added`, `removed` and `altered`; `candles_altered` by time frame; `unfounded` rows have no Bronze
    row and stay. `letters_resolved` dead letters are in Silver (or duplicates) now, `letters_added` messages have
    become dead letters. `published`: hot partitions that were replaced.
    """

    model_config = ConfigDict(frozen=True)

    exchange: str
    day: str
    rows: int
    added: int
    removed: int
    altered: int
    unfounded: int
    candles_altered: dict[str, int]
    letters_resolved: int
    letters_added: int
    published: tuple[str, ...] = ()


class RederiveProgress(BaseModel):
    """Progress: `number` of `total` exchanges and days, what is being done to which."""

    model_config = ConfigDict(frozen=True)

    number: int
    total: int
    exchange: str
    day: str
    doing: str


OnRederive = Callable[[RederiveProgress], None]


def rederive(
    settings: Settings,
    start: datetime,
    end: datetime,
    *,
    exchange: str = "",
    symbol: str = "",
    dry_run: bool = False,
    mend_gold: bool = False,
    hot: HotStore | None = None,
    progress: OnRederive = lambda _: None,
    rederived_hours: Mapping[int, Sequence[Path]] | None = None,
) -> list[DayReport]:
    """Re-derive the days of event time in [start, end) (aware times, cut to whole UTC days), all exchanges or one.

    `symbol` (canonical) leaves the rows of other symbols as they are. `mend_gold`: see `offload.publish.publisher.DayPublisher`.
    `rederived_hours`: see `offload.difference.day.Work`; for a dry run only.

    Raises:
        RederiveError: a day is not over.
        OffloadError: as `offload.run.run` and `offload.publish.publisher`; days before the one at hand are done.
    """
    store: HotStore = hot or ClickHouseHttp(settings)
    catalog = open_catalog(settings)
    ensure_tables(catalog, settings.iceberg_namespace)
    rules = Rules.of(SymbolRegistry.load(settings.symbols_file))
    days = days_between(store, start, end)
    keys = [exchange] if exchange else rules.exchanges.to_list()
    publisher, sender = DayPublisher(settings, store, mend_gold), DeadLetterSender(settings, store)
    run = _Run(settings, catalog, store, rules, keys, symbol, publisher, sender, progress, len(days), rederived_hours or {})
    if not dry_run:
        for cold in TABLES:
            # What a re-derivation that was killed wrote and did not commit.
            table = catalog.load_table(f"{settings.iceberg_namespace}.{cold.name}")
            remove_abandoned(table, f"{table.location()}/data")
        run.publisher.finish_open()
    found = []
    with lean_arrow():
        for number, day in enumerate(days):
            found += run.preview(number, day) if dry_run else run.apply(number, day)
    if not dry_run:
        union_views.follow(settings, store)
    return found


def days_between(hot: HotStore, start: datetime, end: datetime) -> list[Slice]:
    """The UTC days of a span.

    Raises:
        RederiveError: one of them is not over.
    """
    now_us = int(hot.rows(render("clock.sql"), {})[0]["now_us"])
    first, last = micros(start) // DAY_US * DAY_US, -(-micros(end) // DAY_US) * DAY_US
    if last + GRACE_US > now_us:
        raise RederiveError("Only days that are over can be re-derived: end at midnight UTC of today, or earlier.")
    return [Slice(day_us, day_us + DAY_US) for day_us in range(first, last, DAY_US)]


@dataclass(frozen=True)
class _Run:
    settings: Settings
    catalog: Catalog
    hot: HotStore
    rules: Rules
    keys: list[str]
    symbol: str
    publisher: DayPublisher
    sender: DeadLetterSender
    progress: OnRederive
    days: int
    rederived_hours: Mapping[int, Sequence[Path]]

    def preview(self, number: int, day: Slice) -> list[DayReport]:
        """What would change in a day."""
        found = []
        for index, key in enumerate(self.keys):
            self._report_progress(number, index, day, "comparing")
            with tempfile.TemporaryDirectory(prefix="medallion-rederive-") as folder:
                rederived_day = self._rederived_day(day, key)
                changes = find_changes(rederived_day, Path(folder))
                if changes is not None:
                    altered = DayCandles(rederived_day, changes, Path(folder) / "minutes").altered() if changes.any else {}
                    found.append(_report(key, day, changes, altered))
        return found

    def apply(self, number: int, day: Slice) -> list[DayReport]:
        """Make it so, first in Iceberg, then in the hot tier."""
        with tempfile.TemporaryDirectory(prefix="medallion-rederive-") as folder:
            found: dict[str, DayChanges] = {}
            reports: dict[str, DayReport] = {}
            for index, key in enumerate(self.keys):
                self._report_progress(number, index, day, "comparing")
                rewritten = self._rewrite(day, key, Path(folder) / f"{index}")
                if rewritten is not None:
                    found[key], reports[key] = rewritten
            for attempt in range(ATTEMPTS):
                tables = {cold.name: self._rederived_day(day, "").load(cold) for cold in TABLES}
                stale = [key for key in found if not is_published(self.hot, tables, Slice(day.from_us, day.to_us, key))]
                if not stale:
                    break
                self._report_progress(number, len(self.keys) - 1, day, "publishing")
                try:
                    names = self.publisher.publish(tables, day, stale, self.rules.version)
                except ArrivedMeanwhileError as error:
                    if attempt == ATTEMPTS - 1:
                        raise
                    for index, key in enumerate(error.keys):
                        rewritten = self._rewrite(day, key, Path(folder) / f"again-{attempt}-{index}")
                        if rewritten is not None:
                            found[key] = rewritten[0]
                    continue
                reports |= {key: reports[key].model_copy(update={"published": tuple(names)}) for key in stale}
                break
            for changes in found.values():
                changes.dead_letters.confirm()
        return list(reports.values())

    def _rewrite(self, day: Slice, key: str, folder: Path) -> tuple[DayChanges, DayReport] | None:
        rederived_day = self._rederived_day(day, key)
        changes = find_changes(rederived_day, folder)
        if changes is None:
            return None
        minutes = DayCandles(rederived_day, changes, folder / "minutes")
        changes.dead_letters.send(self.sender)
        table = rewrite_silver(rederived_day, changes) if changes.any else changes.table
        rewrite_gold(rederived_day, table, minutes.after)
        return changes, _report(key, day, changes, minutes.altered())

    def _rederived_day(self, day: Slice, key: str) -> RederivedDay:
        part = Slice(day.from_us, day.to_us, key)
        namespace = self.settings.iceberg_namespace
        return RederivedDay(self.catalog, namespace, self.hot, self.rules, part, self.symbol, self.rederived_hours)

    def _report_progress(self, number: int, index: int, day: Slice, doing: str) -> None:
        self.progress(
            RederiveProgress(
                number=number * len(self.keys) + index + 1,
                total=self.days * len(self.keys),
                exchange=self.keys[index],
                day=f"{instant(day.from_us):%Y-%m-%d}",
                doing=doing,
            )
        )


def _report(key: str, day: Slice, changes: DayChanges, altered: Mapping[str, int]) -> DayReport:
    frames = [cold.name.removeprefix("gold_ohlcv_") for cold in TABLES if cold.layer == "gold"]
    return DayReport(
        exchange=key,
        day=f"{instant(day.from_us):%Y-%m-%d}",
        rows=changes.rows,
        added=changes.added,
        removed=changes.removed,
        altered=changes.altered,
        unfounded=changes.unfounded,
        candles_altered={frame: altered.get(frame, 0) for frame in frames},
        letters_resolved=changes.dead_letters.resolved,
        letters_added=changes.dead_letters.written,
    )
