"""Re-derives Silver and Gold from cold Bronze by today's rules, one exchange and day at a time.

Each step compares the present rows with the wanted rows and changes only those that differ. So the next re-derivation
finishes one that was killed, and a repetition changes nothing. One snapshot replaces a day's Silver. The version before
it stays readable until its snapshot expires, or for good through a pin.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from config.registry import SymbolRegistry
from offload.clickhouse.client import HotStore
from offload.clickhouse.server import server_now_us
from offload.clickhouse.tiers import Tiers
from offload.difference.changes import DayChanges, find_changes
from offload.difference.day import RederivedDay
from offload.difference.day_candles import DayCandles
from offload.difference.dead_letter_sender import DeadLetterSender
from offload.errors import OffloadError
from offload.files.data_files import remove_abandoned
from offload.files.scans import lean_arrow
from offload.files.version_hint import publish_hints
from offload.publish.publication_log import PublicationLog
from offload.publish.published import is_published
from offload.publish.publisher import ArrivedMeanwhileError, DayPublisher
from offload.rederive.duplicates import remove_duplicates
from offload.rederive.rewrite import rewrite_gold, rewrite_silver
from offload.retention.union_views import update_union_views
from offload.tables.cold_tables import GOLD, TABLES
from offload.tables.slices import DAY_US, GRACE_US, Slice, instant, micros
from silver_processor.core.rules import Rules

# How often a day is published before an `ArrivedMeanwhileError` ends the run.
PUBLISH_TRIES = 3


class RederiveError(OffloadError):
    """The span cannot be re-derived; the message says why."""


class DayReport(BaseModel):
    """What today's rules change in one exchange and day (UTC, event time).

    `symbol`: the one market (canonical symbol) that was re-derived, "" for all. `rows`: rows of Silver afterwards.
    `added`, `removed`, `altered`: rows of Silver that change. `unfounded`: rows without a Bronze row, which stay.
    `candles_altered`: candles by time frame. `letters_resolved`: dead letters whose messages are now in Silver or
    duplicates. `letters_added`: messages that are now dead letters. `published`: hot partitions that were replaced.
    """

    model_config = ConfigDict(frozen=True)

    exchange: str
    symbol: str
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

    def followed_by(self, later: DayReport) -> DayReport:
        """Both changes as one, of the same market and day. What changed twice counts twice."""
        summed = ("added", "removed", "altered", "letters_resolved", "letters_added")
        candles = {frame: count + later.candles_altered[frame] for frame, count in self.candles_altered.items()}
        return later.model_copy(
            update={
                **{name: getattr(self, name) + getattr(later, name) for name in summed},
                "candles_altered": candles,
                "published": tuple(sorted({*self.published, *later.published})),
            }
        )


class RederiveProgress(BaseModel):
    """Progress: the `number`-th of `total` exchanges and days, and the step (`doing`)."""

    model_config = ConfigDict(frozen=True)

    number: int
    total: int
    exchange: str
    day: str
    doing: str


OnRederive = Callable[[RederiveProgress], None]


def rederive(
    tiers: Tiers,
    start: datetime,
    end: datetime,
    *,
    exchange: str = "",
    symbol: str = "",
    dry_run: bool = False,
    mend_gold: bool = False,
    progress: OnRederive = lambda _: None,
) -> list[DayReport]:
    """Re-derive the days of event time in [start, end) (aware times, cut to whole UTC days), of all exchanges or one.

    `symbol` (canonical): rows of other symbols stay as they are. `mend_gold`: see `DayPublisher`.

    Raises:
        RederiveError: a day is not over.
        ReplicaAwayError: a replica of the cluster does not answer.
        OffloadError: as `offload.run.run` and `DayPublisher.publish`; earlier days are done.
    """
    run = rederivation(tiers, exchange=exchange, symbol=symbol, dry_run=dry_run, mend_gold=mend_gold, progress=progress)
    return run.run(days_between(tiers.hot, start, end))


def rederivation(
    tiers: Tiers,
    *,
    exchange: str = "",
    symbol: str = "",
    dry_run: bool = False,
    mend_gold: bool = False,
    progress: OnRederive = lambda _: None,
) -> Rederivation:
    """Build a re-derivation from its parts. Parameters as `rederive`."""
    rules = Rules.of(SymbolRegistry.load(tiers.settings.symbols_file))
    return Rederivation(
        tiers=tiers,
        rules=rules,
        keys=[exchange] if exchange else rules.exchanges.to_list(),
        symbol=symbol,
        is_dry_run=dry_run,
        publisher=DayPublisher(tiers, PublicationLog(tiers.hot), mend_gold),
        sender=DeadLetterSender(tiers.settings, tiers.hot),
        progress=progress,
    )


def days_between(hot: HotStore, start: datetime, end: datetime) -> list[Slice]:
    """The UTC days of a span.

    Raises:
        RederiveError: one of them is not over.
    """
    first, last = micros(start) // DAY_US * DAY_US, -(-micros(end) // DAY_US) * DAY_US
    if last + GRACE_US > server_now_us(hot):
        raise RederiveError("Only days that are over can be re-derived: end at midnight UTC of today, or earlier.")
    return [Slice(day_us, day_us + DAY_US) for day_us in range(first, last, DAY_US)]


@dataclass(frozen=True)
class Rederivation:
    """Re-derives days of the exchanges `keys`; made by `rederivation`."""

    tiers: Tiers
    rules: Rules
    keys: list[str]
    symbol: str
    is_dry_run: bool
    publisher: DayPublisher
    sender: DeadLetterSender
    progress: OnRederive

    def run(
        self, days: Sequence[Slice], rederived_hours: Mapping[int, Sequence[Path]] | None = None
    ) -> list[DayReport]:
        """Re-derive days that are over. `rederived_hours`: for a dry run, see `RederivedDay`.

        Raises:
            OffloadError: as `rederive`.
        """
        if not self.is_dry_run:
            for cold in TABLES:
                # Remove the files that a killed re-derivation wrote and did not commit.
                table = self.tiers.cold.load(cold)
                remove_abandoned(table, f"{table.location()}/data")
            self.publisher.finish_open()
        reports = []
        with lean_arrow():
            for number, day in enumerate(days):
                show = _DayProgress(self.progress, number, len(days), self.keys, day)
                if self.is_dry_run:
                    reports += self._preview(show, day, rederived_hours or {})
                else:
                    reports += self._rederive_and_publish(show, day)
        if not self.is_dry_run:
            update_union_views(self.tiers.hot, publish_hints(self.tiers.cold))
        return reports

    def _preview(
        self, show: _DayProgress, day: Slice, rederived_hours: Mapping[int, Sequence[Path]]
    ) -> list[DayReport]:
        """The changes that a re-derivation would make to a day."""
        reports = []
        for index, key in enumerate(self.keys):
            show(index, "comparing")
            with tempfile.TemporaryDirectory(prefix="medallion-rederive-") as folder:
                rederived_day = self._rederived_day(day, key, rederived_hours)
                changes = find_changes(rederived_day, Path(folder))
                if changes is not None:
                    candles = DayCandles(rederived_day, changes, Path(folder) / "minutes") if changes.any else None
                    reports.append(self._report(key, day, changes, candles.count_altered() if candles else {}))
        return reports

    def _rederive_and_publish(self, show: _DayProgress, day: Slice) -> list[DayReport]:
        """Change a day, first in Iceberg, then in the hot tier."""
        with tempfile.TemporaryDirectory(prefix="medallion-rederive-") as folder:
            changed: dict[str, DayChanges] = {}
            reports: dict[str, DayReport] = {}
            for index, key in enumerate(self.keys):
                show(index, "comparing")
                rewritten = self._rewrite(day, key, Path(folder) / f"{index}")
                if rewritten is not None:
                    changed[key], reports[key] = rewritten
            for attempt in range(PUBLISH_TRIES):
                tables = self.tiers.cold.load_all()
                parts = {key: Slice(day.from_us, day.to_us, key) for key in changed}
                stale = [key for key, part in parts.items() if not is_published(self.tiers.shards, tables, part)]
                if not stale:
                    break
                show(len(self.keys) - 1, "publishing")
                try:
                    names = self.publisher.publish(day, stale, self.rules.version)
                except ArrivedMeanwhileError as error:
                    if attempt == PUBLISH_TRIES - 1:
                        raise
                    for index, key in enumerate(error.keys):
                        rewritten = self._rewrite(day, key, Path(folder) / f"again-{attempt}-{index}")
                        if rewritten is not None:
                            changed[key] = rewritten[0]
                    continue
                reports |= {key: reports[key].model_copy(update={"published": tuple(names)}) for key in stale}
                break
            for changes in changed.values():
                changes.dead_letters.confirm()
                remove_duplicates(self.tiers, changes.dead_letters.no_duplicates())
        return list(reports.values())

    def _rewrite(self, day: Slice, key: str, folder: Path) -> tuple[DayChanges, DayReport] | None:
        """Change an exchange and day in Iceberg; None if the exchange has neither Bronze nor Silver on that day."""
        rederived_day = self._rederived_day(day, key, {})
        changes = find_changes(rederived_day, folder)
        if changes is None:
            return None
        candles = DayCandles(rederived_day, changes, folder / "minutes")
        changes.dead_letters.send(self.sender)
        table = rewrite_silver(rederived_day, changes) if changes.any else changes.table
        rewrite_gold(rederived_day, table, candles.after)
        return changes, self._report(key, day, changes, candles.count_altered())

    def _rederived_day(self, day: Slice, key: str, rederived_hours: Mapping[int, Sequence[Path]]) -> RederivedDay:
        part = Slice(day.from_us, day.to_us, key)
        return RederivedDay(self.tiers, self.rules, part, self.symbol, rederived_hours)

    def _report(self, key: str, day: Slice, changes: DayChanges, altered: Mapping[str, int]) -> DayReport:
        return DayReport(
            exchange=key,
            symbol=self.symbol,
            day=f"{instant(day.from_us):%Y-%m-%d}",
            rows=changes.rows,
            added=changes.added,
            removed=changes.removed,
            altered=changes.altered,
            unfounded=changes.unfounded,
            candles_altered={cold.timeframe: altered.get(cold.timeframe, 0) for cold in GOLD},
            letters_resolved=changes.dead_letters.resolved,
            letters_added=changes.dead_letters.written,
        )


@dataclass(frozen=True)
class _DayProgress:
    """Reports the progress of the `number`-th of `days` days."""

    progress: OnRederive
    number: int
    days: int
    keys: Sequence[str]
    day: Slice

    def __call__(self, index: int, doing: str) -> None:
        self.progress(
            RederiveProgress(
                number=self.number * len(self.keys) + index + 1,
                total=self.days * len(self.keys),
                exchange=self.keys[index],
                day=f"{instant(self.day.from_us):%Y-%m-%d}",
                doing=doing,
            )
        )
