"""Corrected Silver and Gold of a day into the hot tables: a query sees all of the old version or all of the new one.

The day's Silver is prepared in a twin table; the candle views are put under a cover (`offload.publish.view_override`)
that reads the day's candles from Silver; then one REPLACE PARTITION switches everything, and the candle states follow
under the cover. Meanwhile inserts of that day wait (`offload.publish.pause`), other days' do not. Every step can be
repeated: a publication that died is finished by the next one, and until then readers see a whole version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import uuid4

from pyiceberg.table import Table
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from config.settings import Settings
from ddl.layers import STATE_TABLE
from offload.clickhouse.checksums import cold_sources
from offload.clickhouse.client import HotStore
from offload.clickhouse.templates import render
from offload.errors import OffloadError
from offload.files.export import select_of
from offload.publish.publication_log import PublicationLog, OpenPublication
from offload.publish.pause import Deadline, pause, resume, wait_for_queries
from offload.publish.published import (
    day_span,
    file_paths,
    offloaded_hours,
    open_hours,
    partition_of,
    replace_from_staged,
)
from offload.publish.view_override import ViewOverride, CandleSource, frame_seconds, plain_views, remove_override
from offload.tables.cold_tables import BY_NAME, TABLES, ColdTable
from offload.tables.slices import DAY_US, Slice, instant

PAUSE_SECONDS = 30.0
# What must be left of the pause when the partition is replaced.
MARGIN_SECONDS = 10.0
# A pause is longer for a day of more rows than this a second.
ROWS_A_SECOND = 200_000
# A reader that began before the cover was put on is waited for so long.
READER_WAIT_SECONDS = 300.0
# An insert that is half done is repeated by its worker within seconds.
INSERT_REPEAT_SECONDS = 30.0
INSERT_POLL_SECONDS = 0.2
T = TypeVar("T")
_SILVER = BY_NAME["silver_trades"]
GOLD = tuple(cold for cold in TABLES if cold.layer == "gold")


class DayPublishError(OffloadError):
    """The hot tables could not be replaced; they are as they were, Iceberg has the corrected rows."""


class ArrivedMeanwhileError(OffloadError):
    """Live trades came meanwhile that the re-derivation had added: the day must be looked at again."""

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(f"Trades of {', '.join(keys)} came in live while they were added: run the same command again.")
        self.keys = tuple(keys)


@dataclass(frozen=True)
class DayPublisher:
    """Publishes days; `mend`: also where Gold lacks trades that Silver has and no worker completes them."""

    settings: Settings
    hot: HotStore
    mend: bool = False

    def finish_open(self) -> None:
        """Finish what a publication that died left.

        Raises:
            PublicationBusyError: another one is at work.
            PublishError: as `publish`.
        """
        log = PublicationLog(self.hot)
        for left in log.open():
            log.claim(left)
            override = ViewOverride(left.override, left.publication, left.keys, left.from_us, left.from_us + DAY_US, left.frames)
            if left.override == "silver" or left.is_switched:
                with pause(self.hot, left.publication, _override_day(override), PAUSE_SECONDS) as deadline:
                    self._rebuild_states(override, deadline)
            resume(self.hot, left.publication)
            remove_override(self.hot, plain_views(self.settings))
            log.note(left, "ended", "")

    def publish(self, tables: Mapping[str, Table], day: Slice, keys: Sequence[str], rules_version: str) -> list[str]:
        """Replace the hot rows of some exchanges and a day by those of Iceberg; names the partitions that changed.

        `tables`: cold tables by name. Partitions that are not hot any more are left alone.

        Raises:
            PublishError: Gold lacks trades, or preparing took longer than the pause.
            OutrunError: see there.
            PauseError: a query that began before does not end.
            HotStoreError: ClickHouse failed.
        """
        self.finish_open()
        hot_gold = self._hot_gold(day)
        frames = tuple(cold.name.removeprefix("gold_ohlcv_") for cold, _ in hot_gold)
        is_hot = bool(partition_of(self.hot, "silver_trades", day))
        if not frames and not is_hot:
            return []
        source = self._source(day, keys, frames) if is_hot else "staged"
        log = PublicationLog(self.hot)
        begun = log.begin(uuid4().hex[:12], keys, day.from_us, source, frames, rules_version)
        override = ViewOverride(source, begun.publication, tuple(keys), day.from_us, day.to_us, frames)
        views = plain_views(self.settings)
        try:
            override.apply(self.hot, self.settings.clickhouse_database, views)
            wait_for_queries(self.hot, "reads_under_way.sql", READER_WAIT_SECONDS)
            seconds = PAUSE_SECONDS + self._rows(tables["silver_trades"], day) / ROWS_A_SECOND
            self._wait_for(day, lambda: self._switch(tables, override, log, begun, seconds, is_hot, rules_version) or None)
        except OffloadError:
            if not any(left.publication == begun.publication and left.is_switched for left in log.open()):
                remove_override(self.hot, views)
                log.note(begun, "ended", rules_version)
            raise
        remove_override(self.hot, views)
        log.note(begun, "ended", rules_version)
        self.hot.command(render("truncate.sql", table="silver_trades_staged"), {})
        silver = [f"silver_trades/{instant(day.from_us):%Y%m%d}"] if is_hot else []
        return silver + [f"{STATE_TABLE}/{partition}" for partition in dict.fromkeys(name for _, name in hot_gold)]

    def _switch(
        self,
        tables: Mapping[str, Table],
        override: ViewOverride,
        log: PublicationLog,
        begun: OpenPublication,
        seconds: float,
        is_hot: bool,
        rules_version: str,
    ) -> bool:
        """The switch, within one pause; False if an insert is half done and must be let through first."""
        day = _override_day(override)
        with pause(self.hot, override.publication, day, seconds) as deadline:
            if is_hot and override.source == "silver" and not self._gold_equals_silver(day, override.keys, override.frames):
                return False
            self._stage(tables["silver_trades"], day, override.keys, is_hot)
            if deadline.left() < MARGIN_SECONDS:
                raise DayPublishError(
                    f"Preparing {instant(day.from_us):%Y-%m-%d} took too long: run the same command again."
                )
            log.note(begun, "begun", rules_version)
            if is_hot:
                replace_from_staged(self.hot, "silver_trades", day)
            log.note(begun, "switched", rules_version)
            self._rebuild_states(override, deadline)
        return True

    def _rebuild_states(self, override: ViewOverride, deadline: Deadline) -> None:
        """Make the day's candle states again from the cover's source, while nothing is added to either."""
        if override.frames:
            self.hot.command(render("states_delete.sql", condition=override.condition), {})
            self.hot.command(render("states_insert.sql", states=override.states), {})
        if deadline.left() <= 0:
            message = "The candles took longer than the pause; readers see them right: run the same command to finish."
            raise DayPublishError(message)

    def _stage(self, silver: Table, day: Slice, keys: Sequence[str], is_hot: bool) -> None:
        self.hot.command(render("truncate.sql", table="silver_trades_staged"), {})
        select = select_of(_SILVER, partition=False)
        for key in keys:
            span = day_span(Slice(day.from_us, day.to_us, key))
            for source in cold_sources(self.hot, silver, file_paths(silver, "timestamp", day), select, span):
                names = [name for name, _, _ in _SILVER.columns]
                self.hot.command(render("stage_cold_silver.sql", columns=names, source=source), span)
        if not is_hot:
            return
        hours, opened = offloaded_hours(silver), open_hours(silver)
        asked: dict[str, str | int | list[str]] = {"keys": list(keys), "from_us": day.from_us, "to_us": day.to_us}
        self.hot.command(render("stage_hot_silver.sql", hours=hours, open_hours=opened), asked)
        closed = sorted(set(hours) - set(opened))
        twice = self.hot.rows(render("staged_duplicates.sql", hours=closed), {"keys": list(keys)})
        if twice:
            raise ArrivedMeanwhileError([str(row["key"]) for row in twice])

    def _source(self, day: Slice, keys: Sequence[str], frames: Sequence[str]) -> CandleSource:
        """Silver, if the states have exactly its trades; a half-done insert is given time."""

        def look() -> CandleSource | None:
            silver, *gold = self._counts(day, keys, frames)
            if set(gold) <= {silver}:
                return "silver"
            is_whole = all(trades >= silver for trades in gold)
            return "staged" if self.mend or is_whole else None

        return self._wait_for(day, look)

    def _wait_for(self, day: Slice, ask: Callable[[], T | None]) -> T:
        """What `ask` gives, once it gives something: a worker completes its half-done insert within seconds.

        Raises:
            PublishError: it gives nothing.
        """
        waiting = Retrying(
            retry=retry_if_result(lambda found: found is None),
            stop=stop_after_delay(INSERT_REPEAT_SECONDS),
            wait=wait_fixed(INSERT_POLL_SECONDS),
            retry_error_callback=lambda _: None,
        )
        found = waiting(ask)
        if found is None:
            raise DayPublishError(self._missing_trades(day))
        return found

    def _gold_equals_silver(self, day: Slice, keys: Sequence[str], frames: Sequence[str]) -> bool:
        return len(set(self._counts(day, keys, frames))) == 1

    def _counts(self, day: Slice, keys: Sequence[str], frames: Sequence[str]) -> list[int]:
        """Trades in hot Silver, then in the candles of each frame."""
        span: dict[str, str | int | list[str]] = {"keys": list(keys), "from_us": day.from_us, "to_us": day.to_us}
        found = self.hot.rows(render("count_silver_and_gold.sql"), span)
        trades = {int(row["frame"]): int(row["trades"]) for row in found}
        return [trades.get(frame, 0) for frame in (0, *frame_seconds(frames))]

    def _missing_trades(self, day: Slice) -> str:
        return (
            f"On {instant(day.from_us):%Y-%m-%d} hot Gold lacks trades that hot Silver has. Either an insert is half "
            "done: start the Silver workers, which complete it, and run the same command again. Or Gold lost rows: "
            "then add --mend-gold."
        )

    def _hot_gold(self, day: Slice) -> list[tuple[ColdTable, str]]:
        """The time frames whose candles of the day are hot, and the partitions that hold them."""
        found = [(cold, partition_of(self.hot, STATE_TABLE, day, cold.partition_prefix)) for cold in GOLD]
        return [(cold, partition) for cold, partition in found if partition]

    def _rows(self, silver: Table, day: Slice) -> int:
        """About as many rows as will be staged."""
        cold = sum(task.file.record_count for task in silver.scan(row_filter=day.between("timestamp")).plan_files())
        parts = self.hot.rows(render("hot_partitions.sql"), {"table": "silver_trades"})
        name = partition_of(self.hot, "silver_trades", day)
        return cold + sum(int(row["part_rows"]) for row in parts if row["partition_id"] == name)


def _override_day(override: ViewOverride) -> Slice:
    return Slice(override.from_us, override.to_us)
