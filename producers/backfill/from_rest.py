"""Back-fills over REST, symbols in parallel within the exchange's rate limit. It resumes where a killed run ended."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from config.errors import MedallionError
from config.settings import Settings
from producers.backfill.checkpoint import BackfillCheckpoint
from producers.backfill.gaps import BackfillGaps
from producers.backfill.report import BackfillReport, Progress
from producers.backfill.rest_window import AcknowledgedPublisher, Remaining, RetryingClient, WindowFill
from producers.backfill.windows import SymbolWindow, left_of
from producers.exchanges import exchange as exchange_of
from producers.exchanges.model import Rest
from producers.kafka.publisher import KafkaPublisher
from producers.options import ProducerOptions
from producers.rest.client import FAILURES, RestClient
from producers.rest.history import History
from producers.venue_limits import VenueLimits


class NoRestError(MedallionError):
    """We know no REST interface of the exchange with its history."""


class IncompleteError(MedallionError):
    """A part of the window was not published. The message says which, and why."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a task would fetch: `trades` of [start, end), in at least `requests` requests and `seconds`.

    `unreachable`: the part (µs, UTC) that the exchange does not serve.
    """

    symbol: str
    start: datetime
    end: datetime
    trades: int
    requests: int
    seconds: float
    done: bool = False
    unreachable: tuple[int, int] | None = None


@dataclass(slots=True)
class RestBackfill:
    """A back-fill of one exchange. `rest_endpoint` replaces the exchange's URL.

    `needless`: by symbol, days (UTC) that are left out.

    Raises (every method):
        UnknownExchangeError, NoRestError: the exchange has no REST interface that we know.
    """

    code: str
    symbols: Sequence[str]
    start: datetime
    end: datetime
    rest_endpoint: str | None = None
    options: ProducerOptions = field(default_factory=ProducerOptions)
    needless: Mapping[str, Collection[date]] = field(default_factory=dict)

    def tasks(self, checkpoint: BackfillCheckpoint) -> list[SymbolWindow]:
        """The windows that are left of each symbol; a window that was begun or done before stays whole."""
        windows = [SymbolWindow(self.code, symbol, self.start, self.end) for symbol in self.symbols]
        return [
            part for window in windows for part in left_of(window, self.needless.get(window.symbol, ()), checkpoint)
        ]

    async def estimate(self, checkpoint: BackfillCheckpoint) -> list[Estimate]:
        """Estimate the tasks of `run`. This asks the exchange for the ids of the windows, and publishes nothing.

        Raises:
            IncompleteError: the exchange does not answer, after several attempts.
        """
        async with self._client() as client:
            history = History(RetryingClient(client))
            tasks = self.tasks(checkpoint)
            return [await self._estimate(client.rest, history, task, checkpoint) for task in tasks]

    async def run(
        self,
        settings: Settings,
        checkpoint: BackfillCheckpoint,
        *,
        workers: int = 2,
        progress: Progress = lambda _report: None,
    ) -> BackfillReport:
        """Publish the trades. Trades that live producers also published are duplicates.

        Raises:
            DeliveryError: something was not delivered.

        Trades that the exchange does not serve are in the report's `missing` and in `producer_gaps`.
        """
        tasks = self.tasks(checkpoint)
        report = BackfillReport(parts=len(tasks))
        shares = dict.fromkeys((task.name for task in tasks), 0.0)
        turns = asyncio.Semaphore(workers)

        def tell(task: SymbolWindow, share: float) -> None:
            shares[task.name] = share
            report.published, report.share = sink.published, sum(shares.values()) / len(shares)
            progress(report)

        async def one(task: SymbolWindow) -> None:
            async with turns:
                if checkpoint.is_done(task.name):
                    report.skipped += 1
                else:
                    try:
                        report.missing += await WindowFill(retrying, history, task, checkpoint, sink, gaps, tell).run()
                    except FAILURES as error:
                        report.missing.append(f"{task.symbol}: {error or type(error).__name__}")
                report.done += checkpoint.is_done(task.name)
                tell(task, 1.0)

        with KafkaPublisher(settings) as publisher, KafkaPublisher(settings) as events:
            sink = AcknowledgedPublisher(self.code, publisher, asyncio.Lock())
            gaps = await asyncio.to_thread(BackfillGaps, settings, self.code, checkpoint, events)
            async with self._client() as client:
                retrying = RetryingClient(client)
                history = History(retrying)
                working = [asyncio.ensure_future(one(task)) for task in tasks]
                try:
                    await asyncio.gather(*working)
                finally:
                    for each in working:
                        each.cancel()
                    await asyncio.gather(*working, return_exceptions=True)
        report.take_gaps(gaps.counts)
        return report

    def _client(self) -> RestClient:
        known = exchange_of(self.code)
        if known.rest is None:
            raise NoRestError(f"{self.code}: no REST interface with trades is known")
        rate = self.options.requests or known.rest.rate
        venue_limits = VenueLimits(
            self.code, known.connects, rate, failures=self.options.breaker_failures, open_s=self.options.breaker_open_s
        )
        return RestClient(known, known.rest, venue_limits, self.rest_endpoint)

    async def _estimate(
        self, rest: Rest, history: History, task: SymbolWindow, checkpoint: BackfillCheckpoint
    ) -> Estimate:
        if checkpoint.is_done(task.name):
            return Estimate(task.symbol, task.start, task.end, 0, 0, 0.0, done=True)
        if "left" in (step := checkpoint.get(task.name)):
            left = Remaining.of(step)
            count, unreachable = left.count, left.unreachable
        else:
            try:
                window = await history.window(task.symbol, *task.span_us)
            except FAILURES as error:
                raise IncompleteError(f"{task.symbol}: {error or type(error).__name__}: try again later") from error
            count, unreachable = window.count, window.unreachable
        rate = self.options.requests or rest.rate
        requests = -(-count // rest.page)
        seconds = requests * rate.seconds / rate.times
        return Estimate(task.symbol, task.start, task.end, count, requests, seconds, unreachable=unreachable)
