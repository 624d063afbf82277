"""One run: asks a provider for rows that are not stored yet, and stores the answers."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import structlog

from series.answer import Answer
from series.errors import IncompleteError, SeriesError
from series.providers.model import Provider, ProviderError, Question
from series.store import SeriesStore
from series.storing import Storing

_log = structlog.get_logger(__name__)
# Called with the name of a market and its work: runs the work, and raises what the work raises. An IncompleteError of
# one market stops no other.
Around = Callable[[str, Callable[[], Awaitable[None]]], Awaitable[None]]


async def directly(_market: str, work: Callable[[], Awaitable[None]]) -> None:
    """The `Around` that only runs the work."""
    await work()


@dataclass(slots=True)
class QuestionReport:
    """The result of one question. `rows`: received rows, of which `rejected` are dead letters.

    `failure`: "", or a sentence about what is missing. `start`, `end`: the span (UTC) that was asked for; None if
    nothing was missing.
    """

    name: str
    start: datetime | None = None
    end: datetime | None = None
    answers: int = 0
    rows: int = 0
    rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    failure: str = ""


@dataclass(slots=True)
class RunReport:
    """The result of a run: a report of each question, and how many questions are done."""

    questions: list[QuestionReport]
    done: int = 0

    @property
    def failures(self) -> list[str]:
        """The failures of all questions."""
        return [question.failure for question in self.questions if question.failure]

    def total(self, what: str) -> int:
        """The sum of a count (`answers`, `rows`, `rejected`) over all questions."""
        return sum(getattr(question, what) for question in self.questions)


def left_of(question: Question, full_days: set[date]) -> list[Question]:
    """The parts of the question's span outside the days that are stored in full. Neighbouring days are one part."""
    parts: list[Question] = []
    start = question.start
    while start < question.end:
        midnight = start.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        end = min(midnight, question.end)
        if start.date() not in full_days:
            if parts and parts[-1].end == start:
                parts[-1] = dataclasses.replace(parts[-1], end=end)
            else:
                parts.append(dataclasses.replace(question, start=start, end=end))
        start = end
    return parts


class SeriesRun:
    """Asks questions, `workers` of them at a time."""

    def __init__(self, store: SeriesStore, provider: Provider, workers: int, around: Around = directly) -> None:
        """The caller closes `provider`."""
        self._store = store
        self._provider = provider
        self._around = around
        self._turns = asyncio.Semaphore(workers)

    async def run(
        self, questions: Sequence[Question], *, again: bool, progress: Callable[[RunReport], None]
    ) -> RunReport:
        """Ask every question. One that fails stops no other.

        Args:
            questions: what to ask.
            again: ask for the span of each question without the days that are stored in full. If False, a question
                begins at the newest stored row, or at its own start if there is none.
            progress: called after every answer.

        Raises:
            StoreError: ClickHouse is away; answers that were stored before stay.
            SeriesError: the provider does not have the series, or there is neither a start nor a stored row.
        """
        report = RunReport([QuestionReport(question.name) for question in questions])

        async def one(question: Question, own: QuestionReport) -> None:
            async def ask() -> None:
                await self._ask(question, own, again, lambda: progress(report))
                if own.failure:
                    raise IncompleteError(own.failure)

            async with self._turns:
                with suppress(IncompleteError):
                    await self._around(question.name, ask)
                report.done += 1
                progress(report)

        running = [asyncio.ensure_future(one(*pair)) for pair in zip(questions, report.questions, strict=True)]
        try:
            await asyncio.gather(*running)
        finally:
            for each in running:
                each.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        return report

    async def _ask(self, question: Question, own: QuestionReport, again: bool, tell: Callable[[], None]) -> None:
        parts = await asyncio.to_thread(self._parts, question, again)
        if parts:
            own.start, own.end = parts[0].start, parts[-1].end
        ids: list[str] = []

        def insert(answers: Sequence[Answer]) -> None:
            self._store.insert(question.series, answers)
            for answer in answers:
                ids.append(answer.id)
                own.answers += 1
                own.rows += len(answer.rows)
                if answer.defect:
                    own.failure = f"{question.name}: {answer.request} has no rows ({answer.defect})"

        try:
            async with Storing(insert) as storing:
                for part in parts:
                    async with aclosing(self._provider.answers(part)) as answers:  # type: ignore[type-var]  # a generator
                        async for answer in answers:
                            await storing.add(answer)
                            tell()
        except ProviderError as error:
            own.failure = f"{question.name}: {error}"
            _log.warning("series incomplete", series=question.series.name, symbol=question.symbol, error=str(error))
        own.reasons = await asyncio.to_thread(self._rejects, question, ids)
        own.rejected = sum(own.reasons.values())

    def _parts(self, question: Question, again: bool) -> list[Question]:
        if not again:
            newest = self._store.newest(question.series, question.key)
            if newest is None:
                if question.start < question.end:
                    return [question]
                raise SeriesError(f"No row of {question.name} is stored yet: give --from")
            return [dataclasses.replace(question, start=newest)] if newest < question.end else []
        if not question.series.frame:
            return [question]
        full = self._store.full_days(question.series, question.key, question.start, question.end)
        return left_of(question, full)

    def _rejects(self, question: Question, ids: list[str]) -> dict[str, int]:
        if not ids:
            return {}
        asked: dict[str, Any] = {"series": question.series.name, "ids": ids}
        return {row["reason"]: row["dead_letters"] for row in self._store.rows("rejects", asked)}
