"""Back-fill over REST: symbols side by side within the venue's rate; what a killed run published is not asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from config.errors import MedallionError
from config.settings import Settings
from producers.backfill.checkpoint import Journal
from producers.backfill.from_dumps import BackfillReport, Progress
from producers.backfill.gaps import GapBook
from producers.backfill.rest_window import Filling, Left, Sink, Source, Task
from producers.exchanges import exchange as exchange_of
from producers.kafka.publisher import Publisher
from producers.options import Limits
from producers.rest.client import FAILURES, RestClient
from producers.venue_limits import Guard


class NoRestError(MedallionError):
    """The exchange's history cannot be asked for over REST."""


class IncompleteError(MedallionError):
    """Not all of the window was published; the message says what is missing and why."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a task would fetch: `trades` with at least `requests` in at least `seconds`, from `unreachable` on none."""

    symbol: str
    trades: int
    requests: int
    seconds: float
    done: bool = False
    unreachable: tuple[int, int] | None = None


@dataclass(slots=True)
class RestBackfill:
    """Of one exchange; `rest_endpoint` instead of the exchange's own.

    Raises (every method):
        UnknownExchangeError, NoRestError: the exchange has no REST interface that we know.
        RestError and what else `RestClient.pages` raises: after some tries.
    """

    code: str
    symbols: Sequence[str]
    start: datetime
    end: datetime
    rest_endpoint: str | None = None
    limits: Limits = field(default_factory=Limits)

    @property
    def tasks(self) -> list[Task]:
        """One a symbol."""
        return [Task(self.code, symbol, self.start, self.end) for symbol in self.symbols]

    async def estimate(self, journal: Journal) -> list[Estimate]:
        """What `run` would do; asks where the windows lie, and publishes nothing."""
        async with self._client() as client:
            source = Source(client)
            return [await self._estimate(source, task, journal) for task in self.tasks]

    async def run(
        self,
        settings: Settings,
        journal: Journal,
        *,
        workers: int = 2,
        progress: Progress = lambda _report: None,
    ) -> BackfillReport:
        """Publish the trades; overlap with what live producers publish is harmless.

        Raises:
            PublishError: something was not delivered.

        What the exchange does not serve is in the report's `missing`, and a row of `producer_gaps`.
        """
        tasks = self.tasks
        report = BackfillReport(parts=len(tasks))
        shares = dict.fromkeys((task.name for task in tasks), 0.0)
        turns = asyncio.Semaphore(workers)

        def tell(task: Task, share: float) -> None:
            shares[task.name] = share
            report.published, report.share = sink.published, sum(shares.values()) / len(shares)
            progress(report)

        async def one(task: Task) -> None:
            async with turns:
                if journal.is_done(task.name):
                    report.skipped += 1
                else:
                    try:
                        report.missing += await Filling(source, task, journal, sink, book, tell).run()
                    except FAILURES as error:
                        report.missing.append(f"{task.symbol}: {error or type(error).__name__}")
                tell(task, 1.0)

        with Publisher(settings) as publisher, Publisher(settings) as notes:
            sink = Sink(self.code, publisher, asyncio.Lock())
            book = await asyncio.to_thread(GapBook, settings, self.code, journal, notes)
            async with self._client() as client:
                source = Source(client)
                working = [asyncio.ensure_future(one(task)) for task in tasks]
                try:
                    await asyncio.gather(*working)
                finally:
                    for each in working:
                        each.cancel()
                    await asyncio.gather(*working, return_exceptions=True)
        told = book.told
        report.gaps, report.gap_trades, report.gaps_healed = told.found, told.ids_missing, told.healed
        return report

    def _client(self) -> RestClient:
        known = exchange_of(self.code)
        if known.rest is None:
            raise NoRestError(f"{self.code}: no REST interface with trades is known")
        rate = self.limits.requests or known.rest.rate
        guard = Guard(
            self.code, known.connects, rate, failures=self.limits.breaker_failures, open_s=self.limits.breaker_open_s
        )
        return RestClient(known, known.rest, guard, self.rest_endpoint)

    async def _estimate(self, source: Source, task: Task, journal: Journal) -> Estimate:
        if journal.is_done(task.name):
            return Estimate(task.symbol, 0, 0, 0.0, done=True)
        if step := journal.get(task.name):
            left = Left.of(step)
            count, unreachable = left.count, left.unreachable
        else:
            window = await source.history.window(task.symbol, *task.span_us)
            count, unreachable = window.count, window.unreachable
        rate = self.limits.requests or source.rest.rate
        requests = -(-count // source.rest.page)
        return Estimate(task.symbol, count, requests, requests * rate.seconds / rate.times, unreachable=unreachable)
