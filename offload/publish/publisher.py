"""Replaces Silver and Gold of a day in the hot tables: a query sees all of the old version or all of the new one.
On a cluster the shards replace it one after the other, so this holds for each market.

The day's Silver is prepared in a staging table. The candle views get an override (`offload.publish.view_override`) that
computes the day's candles from Silver. Then one REPLACE PARTITION switches Silver and all candles at once, and the
candle states are rebuilt behind the override. Meanwhile inserts of that day wait (`offload.publish.pause`); inserts of
other days do not. Every step can be repeated. If a publication dies, the next one finishes it; until then readers see
one whole version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import uuid4

import structlog
from pyiceberg.table import Table
from tenacity import Retrying

from config.process.retry import poll, retry_in_turn
from ddl.layers import STATE_TABLE
from offload.clickhouse.checksums import cold_sources
from offload.clickhouse.server import partition_of, partition_rows, truncate
from offload.clickhouse.shards import Shards
from offload.clickhouse.templates import render
from offload.clickhouse.tiers import Tiers
from offload.errors import HotStoreError, OffloadError
from offload.files.export import select_of
from offload.files.paths import file_paths
from offload.publish.pause import Deadline, pause, resume, wait_for_queries
from offload.publish.publication_log import OpenPublication, PublicationBusyError, PublicationLog
from offload.publish.published import day_span, hot_partition_of, replace_from_staged
from offload.publish.view_override import CandleSource, ViewOverride, frame_seconds, plain_views, remove_override
from offload.tables.cold_tables import BY_NAME, GOLD, ColdTable
from offload.tables.slice_records import offloaded_hours, open_hours
from offload.tables.slices import DAY_US, Slice, instant

# Of a pause, for each shard.
PAUSE_SECONDS = 30.0
# The partition is replaced only while this much of the pause is left.
MARGIN_SECONDS = 10.0
# The pause is one second longer for each of this many rows.
ROWS_A_SECOND = 200_000
# How long to wait for queries that began before the override.
READER_WAIT_SECONDS = 300.0
# Within seconds a worker repeats an insert that failed half-way.
INSERT_REPEAT_SECONDS = 30.0
INSERT_POLL_SECONDS = 0.2
# How long to wait while others publish: the pods of a Job take turns, and the lease of one that died is a part of it.
TURN_SECONDS = 3600.0
T = TypeVar("T")
_SILVER = BY_NAME["silver_trades"]
_log = structlog.get_logger(__name__)


class DayPublishError(OffloadError):
    """The hot tables could not be replaced and are unchanged. Iceberg has the corrected rows."""


class HalfPublishedError(OffloadError):
    """Markets of one shard may be new and others old, each whole. The same command finishes the day."""


class ArrivedMeanwhileError(OffloadError):
    """The stream brought trades that the re-derivation has just added, so the day must be compared again."""

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(
            f"While trades of {', '.join(keys)} were added, the stream brought them too: run the same command again."
        )
        self.keys = tuple(keys)


@dataclass(frozen=True)
class DayPublisher:
    """Publishes days. `mend`: publish a day even if Gold lacks trades that Silver has and no worker adds them."""

    tiers: Tiers
    log: PublicationLog
    mend: bool = False

    @property
    def shards(self) -> Shards:
        """The shards of the hot tables."""
        return self.tiers.shards

    def finish_open(self) -> None:
        """Finish the publications of processes that died. Waits for another process that does so.

        Raises:
            ReplicaAwayError: a replica of the cluster does not answer.
            PublicationBusyError, DayPublishError: as `publish`.
        """
        _in_turn()(self._finish_dead)

    def _finish_dead(self) -> None:
        shards = self.shards
        dead = [entry for entry in self.log.open() if not self.log.is_alive(entry)]
        if not dead:
            return
        # Two processes that finish one publication would make its states twice, so the finisher takes a turn.
        keys, ids = {key for entry in dead for key in entry.keys}, {entry.publication for entry in dead}
        turn = self.log.begin(uuid4().hex[:12], sorted(keys), dead[0].from_us, "staged", (), "", beside=ids)
        for entry in dead:
            override = ViewOverride(
                entry.source, entry.publication, entry.keys, entry.from_us, entry.from_us + DAY_US, entry.frames
            )
            if entry.source == "silver" or entry.is_switched:
                day = _day_of(override)
                seconds = self._pause_seconds(self.tiers.cold.load(_SILVER), day)
                with pause(shards, entry.publication, day, seconds) as deadline:
                    self._rebuild_states(override, deadline)
                    if not entry.is_switched:
                        # Silver of some shards may be new, so the workers load their trades again.
                        self.log.note(entry, "switched", "")
            resume(shards, entry.publication)
            self._end_override(plain_views(self.tiers.settings))
            self.log.note(entry, "ended", "")
        self.log.note(turn, "ended", "")

    def publish(self, day: Slice, keys: Sequence[str], rules_version: str) -> list[str]:
        """Replace the hot rows of some exchanges and a day by those of Iceberg; returns the partitions that changed.

        Partitions that are only cold are skipped. While another process publishes, this one waits.

        Raises:
            PublicationBusyError: others have been publishing for `TURN_SECONDS`.
            DayPublishError: Gold lacks trades, or the preparation took longer than the pause.
            ArrivedMeanwhileError: the stream brought trades that were just added.
            HalfPublishedError: a shard failed in the middle of the switch.
            PauseError: a query that the publication has to wait for does not end.
            HotStoreError: ClickHouse failed.
        """
        return _in_turn()(self._publish, day, keys, rules_version)

    def _publish(self, day: Slice, keys: Sequence[str], rules_version: str) -> list[str]:
        self._finish_dead()
        hot_gold = self._hot_gold(day)
        frames = tuple(cold.timeframe for cold, _ in hot_gold)
        is_hot = bool(hot_partition_of(self.shards, _SILVER, day))
        if not frames and not is_hot:
            return []
        source = self._candle_source(day, keys, frames) if is_hot else "staged"
        begun = self.log.begin(uuid4().hex[:12], keys, day.from_us, source, frames, rules_version)
        override = ViewOverride(source, begun.publication, tuple(keys), day.from_us, day.to_us, frames)
        views, silver = plain_views(self.tiers.settings), self.tiers.cold.load(_SILVER)
        try:
            override.apply(self.shards.replicas, self.tiers.settings.clickhouse_database, views)
            wait_for_queries(self.shards.replicas, "reads_under_way.sql", READER_WAIT_SECONDS)
            seconds = self._pause_seconds(silver, day)
            self._wait_for(day, lambda: self._switch(silver, override, begun, seconds, is_hot, rules_version) or None)
        except HalfPublishedError:
            raise
        except OffloadError:
            if not any(entry.publication == begun.publication and entry.is_switched for entry in self.log.open()):
                remove_override(self.shards.replicas, views)
                self.log.note(begun, "ended", rules_version)
            raise
        self._end_override(views)
        if source == "silver":
            # Before the turn ends, as the next publication prepares its rows there. A staged source stays until then:
            # whoever finished this publication would need it.
            self._empty_staged()
        self.log.note(begun, "ended", rules_version)
        of_silver = [f"silver_trades/{instant(day.from_us):%Y%m%d}"] if is_hot else []
        return of_silver + [f"{STATE_TABLE}/{partition}" for partition in dict.fromkeys(name for _, name in hot_gold)]

    def _switch(
        self,
        silver: Table,
        override: ViewOverride,
        begun: OpenPublication,
        seconds: float,
        is_hot: bool,
        rules_version: str,
    ) -> bool:
        """Switch within one pause. False if an insert is half done: a worker must complete it first."""
        day = _day_of(override)
        with pause(self.shards, override.publication, day, seconds) as deadline:
            if is_hot and override.source == "silver" and not self._is_gold_complete(override):
                return False
            self._stage(silver, day, override.keys, is_hot)
            self.shards.catch_up("silver_trades_staged")
            if deadline.seconds_left() < MARGIN_SECONDS:
                raise DayPublishError(
                    f"The preparation of {instant(day.from_us):%Y-%m-%d} took too long: run the same command again."
                )
            self.log.note(begun, "begun", rules_version)
            if is_hot:
                self._replace(day)
            self.log.note(begun, "switched", rules_version)
            self._rebuild_states(override, deadline)
        return True

    def _replace(self, day: Slice) -> None:
        """Replace Silver's partition on each shard.

        Raises:
            HalfPublishedError: a shard failed.
        """
        try:
            for shard in self.shards.each:
                replace_from_staged(shard, _SILVER.hot, day)
        except HotStoreError as error:
            raise HalfPublishedError(
                f"{error} Markets of one shard may be new and others old, each whole. Run the same command again: it "
                "finishes the day."
            ) from error

    def _rebuild_states(self, override: ViewOverride, deadline: Deadline) -> None:
        """Rebuild the day's candle states from the override's source, while inserts into both are paused."""
        if override.frames:
            for shard in self.shards.each:
                shard.command(render("states_delete.sql", condition=override.condition), {})
                shard.command(render("states_insert.sql", states=override.states), {})
        if deadline.seconds_left() <= 0:
            message = (
                "The candles took longer than the pause. Readers see correct candles: run the same command to finish."
            )
            raise DayPublishError(message)

    def _end_override(self, views: Mapping[str, str]) -> None:
        """Remove the override after the states were rebuilt.

        A query that began while the states were deleted keeps to that moment, but looks up each view only when it comes
        to it. So such queries end before a view reads the states again, and those of the override before its source
        is emptied.
        """
        wait_for_queries(self.shards.replicas, "reads_under_way.sql", READER_WAIT_SECONDS)
        remove_override(self.shards.replicas, views)
        wait_for_queries(self.shards.replicas, "reads_under_way.sql", READER_WAIT_SECONDS)

    def _stage(self, silver: Table, day: Slice, keys: Sequence[str], is_hot: bool) -> None:
        hot = self.shards.whole
        self._empty_staged()
        select = select_of(_SILVER, partition=False)
        for key in keys:
            span = day_span(Slice(day.from_us, day.to_us, key))
            for source in cold_sources(hot, silver, file_paths(silver, day.between("timestamp")), select, span):
                names = [name for name, _, _ in _SILVER.columns]
                hot.command(render("stage_cold_silver.sql", columns=names, source=source), span)
        if not is_hot:
            return
        hours, opened = offloaded_hours(silver.properties), open_hours(silver.properties)
        span = {"keys": list(keys), "from_us": day.from_us, "to_us": day.to_us}
        hot.command(render("stage_hot_silver.sql", hours=hours, open_hours=opened), span)
        closed = sorted(set(hours) - set(opened))
        duplicates = hot.rows(render("staged_duplicates.sql", hours=closed), {"keys": list(keys)})
        if duplicates:
            raise ArrivedMeanwhileError([str(row["key"]) for row in duplicates])

    def _candle_source(self, day: Slice, keys: Sequence[str], frames: Sequence[str]) -> CandleSource:
        """Silver if the candle states have exactly its trades, else staged. Waits for a half-done insert."""

        def compare() -> CandleSource | None:
            silver, *gold = self._counts(day, keys, frames)
            if set(gold) <= {silver}:
                return "silver"
            is_complete = all(trades >= silver for trades in gold)
            return "staged" if self.mend or is_complete else None

        return self._wait_for(day, compare)

    def _wait_for(self, day: Slice, check: Callable[[], T | None]) -> T:
        """Call `check` until it returns a result, since a worker completes its insert within seconds.

        Raises:
            DayPublishError: `check` keeps returning None.
        """
        result = poll(check, INSERT_REPEAT_SECONDS, INSERT_POLL_SECONDS)
        if result is None:
            raise DayPublishError(
                f"On {instant(day.from_us):%Y-%m-%d} hot Gold lacks trades that hot Silver has. Either an insert is "
                "half done: start the Silver workers, which complete it, and run the same command again. Or Gold lost "
                "rows: then add --mend-gold."
            )
        return result

    def _is_gold_complete(self, override: ViewOverride) -> bool:
        return len(set(self._counts(_day_of(override), override.keys, override.frames))) == 1

    def _counts(self, day: Slice, keys: Sequence[str], frames: Sequence[str]) -> list[int]:
        """Trades in hot Silver, then in the candles of each frame."""
        span: dict[str, str | int | list[str]] = {"keys": list(keys), "from_us": day.from_us, "to_us": day.to_us}
        rows = self.shards.whole.rows(render("count_silver_and_gold.sql"), span)
        trades = {int(row["frame"]): int(row["trades"]) for row in rows}
        return [trades.get(frame, 0) for frame in (0, *frame_seconds(frames))]

    def _hot_gold(self, day: Slice) -> list[tuple[ColdTable, str]]:
        """The Gold tables whose candles of the day are hot, each with the partition to which they belong."""
        partitions = [(cold, hot_partition_of(self.shards, cold, day)) for cold in GOLD]
        return [(cold, partition) for cold, partition in partitions if partition]

    def _pause_seconds(self, silver: Table, day: Slice) -> float:
        return PAUSE_SECONDS * len(self.shards.each) + self._rows(silver, day) / ROWS_A_SECOND

    def _rows(self, silver: Table, day: Slice) -> int:
        """Estimate of the number of rows to stage."""
        cold = sum(task.file.record_count for task in silver.scan(row_filter=day.between("timestamp")).plan_files())
        hot = 0
        for shard in self.shards.each:
            partition = partition_of(shard, _SILVER.hot, day)
            hot += partition_rows(shard, [_SILVER.hot])[_SILVER.hot].get(partition, 0)
        return cold + hot

    def _empty_staged(self) -> None:
        for shard in self.shards.each:
            truncate(shard, "silver_trades_staged")


def _in_turn() -> Retrying:
    return retry_in_turn(TURN_SECONDS, (PublicationBusyError,), _log, "waiting to publish")


def _day_of(override: ViewOverride) -> Slice:
    return Slice(override.from_us, override.to_us)
