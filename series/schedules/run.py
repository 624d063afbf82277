"""One run of a schedule: a series from the newest stored row of each market to now, or a quality check."""

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
from series.quality.anomalies import AnomalyCheck, by_kind
from series.quality.check import stored_markets, summary, yesterday
from series.questions import open_provider, questions_of
from series.run import Around, QuestionReport, RunReport, SeriesRun, directly
from series.schedules.check import CheckReport, check_landed
from series.schedules.declaration import CheckSchedule, Schedule, SeriesSchedule
from series.schedules.state import ScheduleState, ScheduleStates
from series.store import SeriesStore

# So many markets of one exchange are asked for at a time.
_WORKERS = 2


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class ScheduleRuns:
    """Runs schedules and keeps their states.

    `clock`: returns the time now, UTC. `around`: runs the work of each market.
    """

    settings: Settings
    states: ScheduleStates
    clock: Callable[[], datetime] = _now
    around: Around = directly

    async def run(self, schedule: Schedule) -> tuple[ScheduleState, RunReport | CheckReport]:
        """Run a schedule; write its new state and return it with the report. A market that fails stops no other.

        A quality check that finds differences is a good run.

        Raises:
            ScheduleBusyError: another run of it is under way.
            StoreError: ClickHouse is away; rows that were stored before stay.
            RegistryError: the symbols file cannot be used.
        """
        with self.states.running(schedule.name):
            now = self.clock()
            before = self.states.read(schedule.name) or ScheduleState(schedule.name, now)
            # The results of the newest good run stay in the state until the next good one.
            state = msgspec.structs.replace(before, started_at=now, ended_at=None, rows=0, rejected=0, error="")
            self.states.write(state)
            report: RunReport | CheckReport
            try:
                if isinstance(schedule, CheckSchedule):
                    state, report = await self._check(schedule, state)
                else:
                    state, report = await self._bring(schedule, state)
            except Exception as error:
                failed = f"{type(error).__name__}: {error}"
                self.states.write(msgspec.structs.replace(state, ended_at=self.clock(), error=failed))
                raise
            state = msgspec.structs.replace(
                state, ended_at=self.clock(), succeeded_at=state.succeeded_at if state.error else now
            )
            self.states.write(state)
            return state, report

    async def _check(self, schedule: CheckSchedule, state: ScheduleState) -> tuple[ScheduleState, CheckReport]:
        registry = SymbolRegistry.load(self.settings.symbols_file)
        store = await asyncio.to_thread(SeriesStore, self.settings)
        with contextlib.closing(store):
            markets = await asyncio.to_thread(stored_markets, store, registry, schedule.frame, schedule.seconds)
            report = await check_landed(store, markets, state.checked_until, state.started_at, self.around)
            anomaly_check = AnomalyCheck(store, registry, self.settings)
            report.anomalies = await asyncio.to_thread(anomaly_check.run, yesterday(state.started_at), state.started_at)
        results = {
            "checked_until": report.checked_until,
            "verdicts": summary(report.markets),
            "anomalies": by_kind(report.anomalies),
        }
        return msgspec.structs.replace(state, **results), report

    async def _bring(self, schedule: SeriesSchedule, state: ScheduleState) -> tuple[ScheduleState, RunReport]:
        report = await self._ask(schedule, state.started_at)
        counts = {name: report.total(name) for name in ("rows", "rejected")}
        return msgspec.structs.replace(state, **counts, error="; ".join(report.failures)), report

    async def _ask(self, schedule: SeriesSchedule, now: datetime) -> RunReport:
        registry = SymbolRegistry.load(self.settings.symbols_file)
        store = await asyncio.to_thread(SeriesStore, self.settings)
        with contextlib.closing(store):
            reports: list[QuestionReport] = []
            for exchange, symbols in (schedule.instruments or {"": ()}).items():
                try:
                    reports += await self._ask_exchange(schedule, registry, store, exchange, symbols, now)
                except SeriesError as error:
                    # No market of the exchange can be asked for.
                    reports.append(QuestionReport(f"{schedule.series} {exchange}".rstrip(), failure=str(error)))
            return RunReport(reports, len(reports))

    async def _ask_exchange(
        self,
        schedule: SeriesSchedule,
        registry: SymbolRegistry,
        store: SeriesStore,
        exchange: str,
        symbols: tuple[str, ...],
        now: datetime,
    ) -> list[QuestionReport]:
        refused: list[QuestionReport] = []
        questions: list[Question] = []
        # Symbol by symbol, so that an unknown one stops no other. A series of no market has one question without any.
        markets: list[tuple[str, ...]] = [(symbol,) for symbol in symbols] or [()]
        for market in markets:
            try:
                questions += questions_of(
                    schedule.declared, registry, exchange, market, schedule.frame, schedule.start, now
                )
            except SeriesError as error:
                refused.append(QuestionReport(" ".join((schedule.series, exchange, *market)), failure=str(error)))
        provider = open_provider(
            schedule.provider_name, exchange, schedule.source, schedule.rest_endpoint, self.settings
        )
        try:
            series_run = SeriesRun(store, provider, _WORKERS, self.around)
            report = await series_run.run(questions, again=False, progress=lambda _: None)
        finally:
            await provider.close()
        return [*refused, *report.questions]
