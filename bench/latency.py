"""Trade → candle latency at given rates, layer by layer, on the embedded stack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from bench.journeys import STAGES, durations, with_visibility
from bench.plan import Plan
from bench.runs import Run, run_load, select
from bench.usage import usage_rows
from deploy.embedded.layout import StackState

_JOURNEYS = (Path(__file__).with_name("sql") / "journeys.sql").read_text(encoding="utf-8")
_US = 1_000_000


@dataclass(frozen=True, slots=True)
class RateResult:
    """Medians over the runs at one rate (trades/s)."""

    rate: float
    runs: list[dict[str, Any]]

    @property
    def stages(self) -> pl.DataFrame:
        """Columns as `bench.journeys.durations`: of each figure the median of the runs."""
        every = pl.concat([pl.DataFrame(run["stages"]) for run in self.runs])
        figures = [name for name in every.columns if name != "stage"]
        medians = every.group_by("stage", maintain_order=True).agg(pl.col(figures).median())
        order = pl.DataFrame({"stage": list(STAGES)})
        return order.join(medians, on="stage", maintain_order="left")


def measure(state: StackState, rate: float, plan: Plan) -> RateResult:
    """`plan.runs` runs of `plan.seconds`, each after `plan.warm_up_s` whose trades do not count."""
    return RateResult(rate, [_one(state, rate, plan) for _ in range(plan.runs)])


def _one(state: StackState, rate: float, plan: Plan) -> dict[str, Any]:
    run = run_load(state, rate, plan.warm_up_s + plan.seconds, plan.markets)
    start, end = run.load.started + plan.warm_up_s, run.load.ended
    journeys = select(state, _JOURNEYS, start=int(start * _US), end=int(end * _US))
    seen = with_visibility(journeys, run.looks)
    return {
        "trades": seen.height,
        "trades_per_s": seen.height / (end - start),
        "generator_most_behind_ms": run.load.most_behind_s * 1_000,
        "rows_per_block": seen.height / seen["ingested"].n_unique(),
        "inserts_per_s": seen["validated"].n_unique() / (end - start),
        "watcher_gap_ms": _gap_ms(run, start, end),
        "stages": durations(seen).to_dicts(),
        **usage_rows(run, start, end, seen.height),
    }


def _gap_ms(run: Run, start: float, end: float) -> float:
    """The usual time between two looks at the candles."""
    looks = run.looks.filter(pl.col("seen").is_between(int(start * _US), int(end * _US)))
    gap = looks["seen"].diff().median()
    return float(gap) / 1_000 if isinstance(gap, float | int) else float("nan")
