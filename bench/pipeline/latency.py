"""Measures trade → candle latency at a rate, layer by layer if the pipeline has the times."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from bench.pipeline.journeys import STAGES, WHOLE, drift, durations, with_visibility
from bench.pipeline.parts import active_parts
from bench.pipeline.runs import Run, run_load, select
from bench.pipeline.usage import usage_rows
from bench.plan import Plan
from bench.stack import Target

_US = 1_000_000
# The pipeline is warm when the medians of two loads in a row differ by at most this share.
_SETTLED = 0.15
# If a pipeline keeps up, the later half of a run is not much slower than the earlier one, and the publisher does not
# wait.
_MOST_DRIFT = 2.0
_MOST_BEHIND_S = 1.0


@dataclass(frozen=True, slots=True)
class RateResult:
    """The result at one rate (trades/s): the runs, the medians of the warm-up loads (ms), and the parts at the end."""

    rate: float
    runs: list[dict[str, Any]]
    warm_up_p50_ms: list[float]
    parts: list[dict[str, Any]]

    @property
    def stages(self) -> pl.DataFrame:
        """Columns as in `bench.pipeline.journeys.durations`. Each figure is the median over the runs."""
        every = pl.concat([pl.DataFrame(run["stages"]) for run in self.runs])
        figures = [name for name in every.columns if name != "stage"]
        medians = every.group_by("stage", maintain_order=True).agg(pl.col(figures).median())
        order = pl.DataFrame({"stage": [name for name in STAGES if name in every["stage"].unique().to_list()]})
        return order.join(medians, on="stage", maintain_order="left")

    @property
    def keeps_up(self) -> bool:
        """Whether every run reached the rate. If not, latencies only say how far behind the pipeline was at the end."""
        return all(
            run["drift"] < _MOST_DRIFT and run["generator_most_behind_ms"] < _MOST_BEHIND_S * 1_000 for run in self.runs
        )

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON values."""
        whole = self.stages.filter(pl.col("stage") == WHOLE).row(0, named=True)
        cpu = pl.Series([run["stack_cpu_us_per_trade"] for run in self.runs]).median()
        derived = {"p50_ms": whole["p50_ms"], "p99_ms": whole["p99_ms"], "keeps_up": self.keeps_up}
        return {**asdict(self), **derived, "stack_cpu_us_per_trade": cpu, "median": self.stages.to_dicts()}


def measure(target: Target, rate: float, plan: Plan) -> RateResult:
    """Warm the pipeline up until its latency has settled, then do `plan.runs` runs of `plan.seconds`."""
    warm_ups: list[float] = []
    while len(warm_ups) < plan.warm_ups and not has_settled(warm_ups):
        stages = _one(target, rate, plan.warm_up_s, plan)["stages"]
        warm_ups.append(next(stage["p50_ms"] for stage in stages if stage["stage"] == WHOLE))
    runs = [_one(target, rate, plan.seconds, plan) for _ in range(plan.runs)]
    return RateResult(rate, runs, warm_ups, active_parts(target))


def has_settled(medians_ms: list[float]) -> bool:
    """Whether the last two medians differ by little."""
    if len(medians_ms) < 2:
        return False
    before, last = medians_ms[-2:]
    return abs(last - before) <= _SETTLED * before


def _one(target: Target, rate: float, seconds: float, plan: Plan) -> dict[str, Any]:
    run = run_load(target, rate, plan.lead_s + seconds, plan.markets)
    start, end = run.load.started + plan.lead_s, run.load.ended
    journeys = select(target, target.journeys, start=int(start * _US), end=int(end * _US))
    seen = with_visibility(journeys, run.looks)
    layers = {}
    if "validated" in seen.columns:
        layers = {
            "rows_per_block": seen.height / seen["ingested"].n_unique(),
            "inserts_per_s": seen["validated"].n_unique() / (end - start),
        }
    return {
        "trades": seen.height,
        "trades_per_s": seen.height / (end - start),
        "generator_most_behind_ms": run.load.most_behind_s * 1_000,
        "drift": drift(seen),
        "looks_per_s": _looks(run, start, end) / (end - start),
        "stages": durations(seen).to_dicts(),
        **layers,
        **usage_rows(run, start, end, seen.height),
    }


def _looks(run: Run, start: float, end: float) -> int:
    return run.totals.filter(pl.col("seen").is_between(int(start * _US), int(end * _US))).height
