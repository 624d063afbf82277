"""One run of a schedule: each market from its newest stored row to now."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from config.registry import SymbolRegistry
from config.settings import Settings
from series.errors import SeriesError
from series.providers.model import Question
from series.questions import open_provider, questions_of
from series.run import QuestionReport, RunReport, SeriesRun
from series.schedules.declaration import Schedule
from series.schedules.state import ScheduleState, ScheduleStates
from series.store import SeriesStore

# Markets of one exchange at a time.
_WORKERS = 2


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class ScheduleRuns:
    """Runs schedules and keeps their states. `clock`: the time now, UTC."""

    settings: Settings
    states: ScheduleStates
    clock: Callable[[], datetime] = _now

    async def run(self, schedule: Schedule) -> RunReport:
        """Run a schedule, and write what became of it. A market that fails stops no other.

        Raises:
            ScheduleBusyError: a run of it is under way.
            StoreError: ClickHouse is away; what was stored before stays.
            RegistryError: the symbols file cannot be used.
        """
        with self.states.running(schedule.name):
            before = self.states.read(schedule.name)
            state = ScheduleState(
                schedule.name, self.clock(), succeeded_at=before.succeeded_at if before is not None else None
            )
            self.states.write(state)
            try:
                report = await self._ask(schedule, state.started_at)
            except Exception as error:
                failed = f"{type(error).__name__}: {error}"
                self.states.write(msgspec.structs.replace(state, ended_at=self.clock(), error=failed))
                raise
            self.states.write(
                msgspec.structs.replace(
                    state,
                    ended_at=self.clock(),
                    succeeded_at=state.succeeded_at if report.failures else state.started_at,
                    rows=report.total("rows"),
                    rejected=report.total("rejected"),
                    error="; ".join(report.failures),
                )
            )
            return report

    async def _ask(self, schedule: Schedule, now: datetime) -> RunReport:
        registry = SymbolRegistry.load(self.settings.symbols_file)
        store = await asyncio.to_thread(SeriesStore, self.settings)
        with contextlib.closing(store):
            found: list[QuestionReport] = []
            for exchange, symbols in (schedule.instruments or {"": ()}).items():
                try:
                    found += await self._ask_exchange(schedule, registry, store, exchange, symbols, now)
                except SeriesError as error:
                    # The exchange as a whole cannot be asked.
                    found.append(QuestionReport(f"{schedule.series} {exchange}".rstrip(), failure=str(error)))
            return RunReport(found, len(found))

    async def _ask_exchange(
        self,
        schedule: Schedule,
        registry: SymbolRegistry,
        store: SeriesStore,
        exchange: str,
        symbols: tuple[str, ...],
        now: datetime,
    ) -> list[QuestionReport]:
        found: list[QuestionReport] = []
        questions: list[Question] = []
        each: list[tuple[str, ...]] = [(symbol,) for symbol in symbols] or [()]
        for own in each:
            try:
                questions += questions_of(
                    schedule.declared, registry, exchange, own, schedule.frame, schedule.start, now
                )
            except SeriesError as error:
                found.append(QuestionReport(" ".join((schedule.series, exchange, *own)), failure=str(error)))
        provider = open_provider(schedule.provider_name, exchange, schedule.source, schedule.rest_endpoint)
        try:
            running = SeriesRun(store, provider, _WORKERS)
            report = await running.run(questions, again=False, progress=lambda _: None)
        finally:
            await provider.close()
        return [*found, *report.questions]
