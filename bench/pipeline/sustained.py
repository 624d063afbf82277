"""Measures the sustained rate raw topic → Gold, and the CPU a trade at this rate."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from bench.pipeline.parts import active_parts
from bench.pipeline.runs import run_load
from bench.pipeline.usage import usage_rows
from bench.plan import Plan
from bench.stack import Target

_US = 1_000_000
# Each look at the candles costs CPU, and here only the number of trades matters.
_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class SustainedResult:
    """One record for each run, and the parts at the end."""

    runs: list[dict[str, Any]]
    parts: list[dict[str, Any]]

    @property
    def trades_per_s(self) -> float:
        """The median over the runs."""
        return float(statistics.median(run["trades_per_s"] for run in self.runs))

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON values: medians of rate and CPU a trade, and the stack's peak memory in any run."""
        return {
            "trades_per_s": self.trades_per_s,
            "stack_cpu_us_per_trade": statistics.median(run["stack_cpu_us_per_trade"] for run in self.runs),
            "stack_peak_rss_mb": max(run["stack_peak_rss_mb"] for run in self.runs),
            **asdict(self),
        }


def measure(target: Target, plan: Plan) -> SustainedResult:
    """Publish as many trades as the broker accepts. The publisher waits for consumers, so the rate is sustained."""
    run_load(target, 0.0, plan.warm_up_s, plan.markets, _PAUSE_S)
    runs = [_one(target, plan) for _ in range(plan.runs)]
    return SustainedResult(runs, active_parts(target))


def _one(target: Target, plan: Plan) -> dict[str, Any]:
    run = run_load(target, 0.0, plan.lead_s + plan.seconds, plan.markets, _PAUSE_S)
    start, end = run.load.started + plan.lead_s, run.load.ended
    if steps(run.totals, int(start * _US), int(end * _US)).height < 2:
        # Inserts take longer than the load, so those after the load count as well.
        end = float(run.totals["seen"][-1]) / _US
    rate = sustained_rate(run.totals, int(start * _US), int(end * _US))
    return {"trades_per_s": rate, "seconds": end - start, **usage_rows(run, start, end, round(rate * (end - start)))}


def steps(totals: pl.DataFrame, start: int, end: int) -> pl.DataFrame:
    """The inserts that became visible between two times (µs): their `trades`, and when they were first `seen`."""
    first = totals.group_by("trades").agg(pl.col("seen").min())
    return first.filter(pl.col("seen").is_between(start, end)).sort("seen")


def sustained_rate(totals: pl.DataFrame, start: int, end: int) -> float:
    """Trades a second that became visible between two times.

    Each insert is a step in the candles. The rate is taken from the first step in the window to the last, so it covers
    whole steps.

    Args:
        totals: from `bench.pipeline.visibility.Watcher`.
        start: start of the window, µs.
        end: end of the window, µs.

    Raises:
        ValueError: fewer than two steps lie in the window.
    """
    found = steps(totals, start, end)
    if found.height < 2:
        raise ValueError(f"{found.height} inserts within {(end - start) / _US:.1f} s: measure longer")
    trades, seen = found["trades"], found["seen"]
    return float((trades[-1] - trades[0]) / (seen[-1] - seen[0]) * _US)
