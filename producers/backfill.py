"""Back-fill from dumps: days in parallel, each done only when the broker has all of it, and then never again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice

from config.settings import Settings
from producers import dumps
from producers.dumps import Day
from producers.envelope import BACKFILL, Envelope
from producers.journal import DONE, Journal
from producers.publisher import Publisher

_BATCH = 1_000


@dataclass(slots=True)
class BackfillReport:
    """Counts; `skipped` parts (days or symbols) were done by an earlier run. `missing` says what was not to be had.

    `share` of the work that is done, 0 to 1.
    """

    parts: int = 0
    skipped: int = 0
    published: int = 0
    share: float = 0.0
    missing: list[str] = field(default_factory=list)


#: Told of the report after every batch.
Progress = Callable[[BackfillReport], None]


def days(exchange: str, symbols: Sequence[str], start: datetime, end: datetime) -> list[Day]:
    """The UTC days that [start, end) touches, of each symbol."""
    first, last = start.astimezone(UTC).date(), (end.astimezone(UTC) - timedelta(microseconds=1)).date()
    dates = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return [Day(exchange, symbol, one) for one in dates for symbol in symbols]


def left(wanted: Sequence[Day], start: datetime, end: datetime, journal: Journal) -> list[Day]:
    """The days that are not done."""
    return [day for day in wanted if not journal.is_done(_step(day, start, end))]


def backfill(
    wanted: Sequence[Day],
    start: datetime,
    end: datetime,
    settings: Settings,
    journal: Journal,
    *,
    source: str = dumps.URL,
    workers: int = 2,
    progress: Progress = lambda _report: None,
) -> BackfillReport:
    """Publish the trades of [start, end) of the days; what live producers also published is harmless.

    Raises:
        DumpError: a day's file is missing or broken; days done before stay done.
        PublishError: something was not delivered.
    """
    report, lock, stop = BackfillReport(parts=len(wanted)), threading.Lock(), threading.Event()
    from_us, to_us = (int(moment.timestamp()) * 1_000_000 + moment.microsecond for moment in (start, end))

    def run(day: Day) -> None:
        name = _step(day, start, end)
        if journal.is_done(name):
            with lock:
                report.skipped += 1
                report.share += 1 / len(wanted)
                progress(report)
            return
        with Publisher(settings) as publisher:
            for batch in _batches(dumps.read(day, source, from_us, to_us)):
                if stop.is_set():
                    return
                publisher.publish(batch, BACKFILL)
                with lock:
                    report.published += len(batch)
                    progress(report)
        journal.put(name, DONE)
        with lock:
            report.share += 1 / len(wanted)
            progress(report)

    def run_unless_stopped(day: Day) -> None:
        """The thread that fails stops the others itself: it would take the next day before anybody else looked."""
        if stop.is_set():
            return
        try:
            run(day)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(workers) as pool:
        tasks = [pool.submit(run_unless_stopped, day) for day in wanted]
        try:
            wait(tasks)
        finally:
            # Ctrl-C, too: days under way end at their next batch, no further one is started.
            stop.set()
    for task in tasks:
        task.result()
    return report


def _step(day: Day, start: datetime, end: datetime) -> str:
    """A day counts with the span asked for."""
    return f"{day.name} {start.isoformat()} {end.isoformat()}"


def _batches(envelopes: Iterable[Envelope]) -> Iterator[list[Envelope]]:
    source = iter(envelopes)
    while batch := list(islice(source, _BATCH)):
        yield batch
