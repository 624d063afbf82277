"""History into the raw topics: days in parallel, each done only when the broker has all of it, and then never again."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from config.settings import Settings
from producers import dumps
from producers.dumps import Day
from producers.envelope import Envelope
from producers.publisher import Publisher

_BATCH = 1_000


@dataclass(slots=True)
class BackfillReport:
    """Counts; `skipped` days were done by an earlier run."""

    days: int = 0
    skipped: int = 0
    published: int = 0


#: Told of the report after every batch.
Progress = Callable[[BackfillReport], None]


class State:
    """The days that are done, in a file; a day counts with the span asked for."""

    def __init__(self, path: Path) -> None:
        """Reads what an earlier run left."""
        self._path = path
        self._done: set[str] = set(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else set()
        self._lock = threading.Lock()

    def __contains__(self, name: str) -> bool:
        return name in self._done

    def add(self, name: str) -> None:
        """Remember, in one atomic step."""
        with self._lock:
            self._done.add(name)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft = self._path.with_name(self._path.name + ".new")
            draft.write_text(json.dumps(sorted(self._done), indent=0), encoding="utf-8")
            draft.replace(self._path)


def days(exchange: str, symbols: Sequence[str], start: datetime, end: datetime) -> list[Day]:
    """The UTC days that [start, end) touches, of each symbol."""
    first, last = start.astimezone(UTC).date(), (end.astimezone(UTC) - timedelta(microseconds=1)).date()
    dates = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return [Day(exchange, symbol, one) for one in dates for symbol in symbols]


def backfill(
    wanted: Sequence[Day],
    start: datetime,
    end: datetime,
    settings: Settings,
    state: State,
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
    report, lock, stop = BackfillReport(days=len(wanted)), threading.Lock(), threading.Event()
    from_us, to_us = (int(moment.timestamp()) * 1_000_000 + moment.microsecond for moment in (start, end))

    def run(day: Day) -> None:
        name = f"{day.name} {start.isoformat()} {end.isoformat()}"
        if name in state:
            with lock:
                report.skipped += 1
            return
        with Publisher(settings) as publisher:
            for batch in _batches(dumps.read(day, source, from_us, to_us)):
                if stop.is_set():
                    return
                publisher.publish(batch)
                with lock:
                    report.published += len(batch)
                    progress(report)
        state.add(name)

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


def _batches(envelopes: Iterable[Envelope]) -> Iterator[list[Envelope]]:
    source = iter(envelopes)
    while batch := list(islice(source, _BATCH)):
        yield batch
