"""Back-fills from dumps, several days in parallel.

A day is done when the broker has all of its file: each row is on the raw topic, as a trade or a dead letter, and each
hole in the ids is a row of `producer_gaps`. A day that is done is not read again, unless its file or the warehouse
changes.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from typing import Any

import structlog

from config.settings import Settings
from producers.backfill import dump_files, dumps
from producers.backfill.checkpoint import DONE, BackfillCheckpoint
from producers.backfill.dumps import Day, DumpContents, DumpError, TimeSpan
from producers.backfill.gaps import BackfillGaps
from producers.backfill.report import DumpReport, Progress
from producers.gaps.gap import Gap
from producers.gaps.id_ranges import IdRanges, TimedRange
from producers.kafka.envelope import BACKFILL, Envelope
from producers.kafka.publisher import KafkaPublisher
from producers.timestamps import now_us

_BATCH = 1_000
# The ids of two files are compared across at most this many days without a trade.
_MOST_EMPTY_DAYS = 31
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PlannedDay:
    """What a run would do with a day: `read` it, read it again because it `changed`, or nothing because it is `done`.

    `missing`: there is no such file. `fetch`: only a download tells whether the exchange serves the file. `ignored`: as
    in `DumpFile`.
    """

    day: Day
    file: str
    what: str
    ignored: tuple[str, ...] = ()


def days(exchange: str, symbols: Sequence[str], start: datetime, end: datetime) -> list[Day]:
    """The UTC days that [start, end) touches, of each symbol."""
    first, last = start.astimezone(UTC).date(), (end.astimezone(UTC) - timedelta(microseconds=1)).date()
    dates = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return [Day(exchange, symbol, day) for day in dates for symbol in symbols]


def left_of(
    wanted: Sequence[Day],
    start: datetime,
    end: datetime,
    needless: Mapping[str, Collection[date]],
    checkpoint: BackfillCheckpoint,
) -> list[Day]:
    """The days without the `needless` ones (UTC days by symbol).

    A day whose file was read stays, since the exchange may have corrected the file.
    """
    return [
        day
        for day in wanted
        if day.date not in needless.get(day.symbol, ()) or checkpoint.get(step_name(day, _clipped(day, start, end)))
    ]


def plan(
    wanted: Sequence[Day], start: datetime, end: datetime, checkpoint: BackfillCheckpoint, source: str
) -> list[PlannedDay]:
    """What `backfill` would do. Nothing is published, and only checksum files are fetched."""
    place = dump_files.source_of(source)
    return [_planned(day, _clipped(day, start, end), checkpoint, place) for day in wanted]


def backfill(
    wanted: Sequence[Day],
    start: datetime,
    end: datetime,
    settings: Settings,
    checkpoint: BackfillCheckpoint,
    *,
    source: str = dumps.URL,
    workers: int = 2,
    progress: Progress = lambda _report: None,
) -> DumpReport:
    """Publish the trades of [start, end) of the days. Trades that live producers also published are duplicates.

    A file is read whole before its first trade is published. A file that is missing, damaged or of another kind is
    listed in the report's `failures`, and the other files are done.

    Raises:
        DeliveryError: something was not delivered. Days that were done stay done.
    """
    with ExitStack() as stack:
        run = _DumpRun(
            settings, checkpoint, dump_files.source_of(source), DumpReport(parts=len(wanted)), progress, stack
        )

        def unless_stopped(day: Day) -> None:
            """Back-fill one day. If a thread fails, no other thread begins another day."""
            if run.stop.is_set():
                return
            try:
                run.take(day, _clipped(day, start, end))
            except BaseException:
                run.stop.set()
                raise

        with ThreadPoolExecutor(workers) as pool:
            tasks = [pool.submit(unless_stopped, day) for day in wanted]
            try:
                wait(tasks)
            finally:
                # Ctrl-C as well: days under way end at their next batch, and no other day starts.
                run.stop.set()
        for task in tasks:
            task.result()
    return run.report


class _DumpRun:
    """One run over many days."""

    def __init__(
        self,
        settings: Settings,
        checkpoint: BackfillCheckpoint,
        source: dump_files.Source,
        report: DumpReport,
        progress: Progress,
        stack: ExitStack,
    ) -> None:
        self.report = report
        self.stop = threading.Event()
        self._settings, self._checkpoint, self._source, self._progress = settings, checkpoint, source, progress
        self._stack = stack
        self._lock = threading.Lock()
        self._gaps: BackfillGaps | None = None

    def take(self, day: Day, span: TimeSpan) -> None:
        """Back-fill one day, or report why not."""
        try:
            self._read(day, span)
        except DumpError as error:
            with self._lock:
                self.report.failures.append(str(error))
                self._checkpoint.put(failure_name(day, span), {"error": str(error), "at_us": now_us()})
        with self._lock:
            self.report.share += 1 / self.report.parts
            self._progress(self.report)

    def _read(self, day: Day, span: TimeSpan) -> None:
        step = self._checkpoint.get(step_name(day, span))
        if _is_known(day, self._source, step):
            self._skip()
            return
        with dumps.opened(day, self._source, self.stop.is_set) as stored:
            with self._lock:
                self.report.ignored += stored.ignored
            if step.get("sha256") == stored.sha256:
                self._skip()
                return
            contents = dumps.inspect(day, stored, span)
            stored.check_unchanged()
            if not self._publish(dumps.messages(day, stored, span)):
                return
            stored.check_unchanged()
            with self._lock:
                self._count(stored.name, contents, step)
                self._note_gaps(day, span, contents)
                self._checkpoint.put(step_name(day, span), {**DONE, "sha256": stored.sha256, **_found(contents)})
                self.report.done += 1

    def _publish(self, messages: Iterator[Envelope]) -> bool:
        """Publish a day. True: the whole day was published, and the broker has all of it."""
        with KafkaPublisher(self._settings) as publisher:
            for batch in _batches(messages):
                if self.stop.is_set():
                    return False
                publisher.publish(batch, BACKFILL)
                with self._lock:
                    self.report.published += len(batch)
                    self._progress(self.report)
        return True

    def _skip(self) -> None:
        with self._lock:
            self.report.skipped += 1
            self.report.done += 1

    def _count(self, name: str, contents: DumpContents, step: dict[str, Any]) -> None:
        """Count a file. `step`: that of an earlier version of the file; {} if there is none."""
        report = self.report
        report.rows += contents.rows
        report.dead += contents.dead
        report.repeated += contents.repeated
        report.changed += bool(step)
        # A step of version 0.2 has the number of all rows only.
        if contents.trades < step.get("trades", 0):
            report.shrunk.append(f"{name}: {contents.trades:,} trades instead of {step['trades']:,}")
        if contents.dead:
            _log.warning("rows that are no trades go to the DLQ", file=name, rows=contents.dead)
        if not contents.rows:
            report.empty.append(name)

    def _note_gaps(self, day: Day, span: TimeSpan, contents: DumpContents) -> None:
        """Publish the holes in and around the file, and the older ones that it fills, and wait for the broker."""
        if self._gaps is None:
            events = self._stack.enter_context(KafkaPublisher(self._settings))
            self._gaps = BackfillGaps(self._settings, day.exchange, self._checkpoint, events)
        runs = [*contents.runs]
        self._gaps.fill(day.symbol, [(run.first, run.last) for run in runs])
        runs = [*self._before(day, span, contents), *runs, *self._after(day, span, contents)]
        self._gaps.found(day.symbol, [_gap(day.symbol, *pair) for pair in pairwise(runs) if _is_hole(*pair)])
        self.report.take_gaps(self._gaps.counts)

    def _before(self, day: Day, span: TimeSpan, contents: DumpContents) -> list[TimedRange]:
        if contents.before is not None:
            return [contents.before]
        return self._neighbour(day, -1) if span[0] == day.span_us[0] else []

    def _after(self, day: Day, span: TimeSpan, contents: DumpContents) -> list[TimedRange]:
        if contents.after is not None:
            return [contents.after]
        return self._neighbour(day, 1) if span[1] == day.span_us[1] else []

    def _neighbour(self, day: Day, direction: int) -> list[TimedRange]:
        """First and last trade of the nearest day that is done and has trades; [] if a day between is not done."""
        for distance in range(1, _MOST_EMPTY_DAYS + 1):
            other = day.later(direction * distance)
            step = self._checkpoint.get(step_name(other, other.span_us))
            if not step.get("done"):
                return []
            if step["ends"]:
                return [TimedRange(*step["ends"])]
        return []


def _planned(day: Day, span: TimeSpan, checkpoint: BackfillCheckpoint, source: dump_files.Source) -> PlannedDay:
    step = checkpoint.get(step_name(day, span))
    try:
        if isinstance(source, str):
            url = dump_files.address(day.stem, day.market, day.folder, source)
            return PlannedDay(day, url, "done" if _is_known(day, source, step) else "fetch")
        with dumps.opened(day, source) as stored:
            same = step.get("sha256") == stored.sha256
            return PlannedDay(day, stored.name, "done" if same else ("changed" if step else "read"), stored.ignored)
    except DumpError as error:
        return PlannedDay(day, str(error), "done" if _is_known(day, source, step) else "missing")


def _is_known(day: Day, source: dump_files.Source, step: dict[str, Any]) -> bool:
    """Whether the file of a done day need not be read again: it is gone, or the exchange's checksum is the same."""
    if not step:
        return False
    if not isinstance(source, str):
        return not dump_files.exists(day.stem, day.market, source)
    url = dump_files.address(day.stem, day.market, day.folder, source)
    return dump_files.remote_checksum(url) == str(step["sha256"])


def _clipped(day: Day, start: datetime, end: datetime) -> TimeSpan:
    """The part of [start, end) that lies in the day."""
    start_us, end_us = (int(moment.timestamp()) * 1_000_000 + moment.microsecond for moment in (start, end))
    first, last = day.span_us
    return max(first, start_us), min(last, end_us)


def step_name(day: Day, span: TimeSpan) -> str:
    """The name in the checkpoint. A part of a day has its own."""
    return f"dump {day.name}" if span == day.span_us else f"dump {day.name} {span[0]} {span[1]}"


def failure_name(day: Day, span: TimeSpan) -> str:
    """The name in the checkpoint of the last failure. It counts until the day is done."""
    return f"failure {step_name(day, span)}"


def _found(contents: DumpContents) -> dict[str, Any]:
    runs = [*contents.runs]
    ends = [runs[0].first, runs[-1].last, runs[0].first_us, runs[-1].last_us] if runs else []
    return {"rows": contents.rows, "trades": contents.trades, "dead": contents.dead, "ends": ends}


def _is_hole(before: TimedRange, after: TimedRange) -> bool:
    return before.last + 1 < after.first


def _gap(symbol: str, before: TimedRange, after: TimedRange) -> Gap:
    first, last = before.last + 1, after.first - 1
    return Gap(
        symbol, str(first), str(last), before.last_us, after.first_us, last - first + 1, now_us(), IdRanges(first, last)
    )


def _batches(envelopes: Iterable[Envelope]) -> Iterator[list[Envelope]]:
    source = iter(envelopes)
    while batch := list(islice(source, _BATCH)):
        yield batch
