"""The sustained rate raw topic → Gold of the embedded stack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from bench.plan import Plan
from bench.runs import run_load
from bench.usage import usage_rows
from deploy.embedded.layout import StackState

_US = 1_000_000


@dataclass(frozen=True, slots=True)
class ThroughputResult:
    """One record a run, and the median rate."""

    runs: list[dict[str, Any]]

    @property
    def trades_per_s(self) -> float:
        """Median of the runs."""
        return float(np.median([run["trades_per_s"] for run in self.runs]))


def measure(state: StackState, plan: Plan) -> ThroughputResult:
    """Offer as many trades as the broker takes; the publisher waits for consumers, so what comes out is sustained."""
    return ThroughputResult([_one(state, plan) for _ in range(plan.runs)])


def _one(state: StackState, plan: Plan) -> dict[str, Any]:
    run = run_load(state, 0.0, plan.warm_up_s + plan.seconds, plan.markets)
    start, end = run.load.started + plan.warm_up_s, run.load.ended
    rate = sustained_rate(run.looks, int(start * _US), int(end * _US))
    return {"trades_per_s": rate, **usage_rows(run, start, end, round(rate * (end - start)))}


def sustained_rate(looks: pl.DataFrame, start: int, end: int) -> float:
    """Trades a second that became visible between two times (µs).

    Candles grow in steps, a step an insert. From the first step within the window to the last is a whole number of
    steps, so that neither end cuts one.

    Raises:
        ValueError: fewer than two steps lie within.
    """
    steps = (
        looks.group_by("trades").agg(pl.col("seen").min()).filter(pl.col("seen").is_between(start, end)).sort("seen")
    )
    if steps.height < 2:
        raise ValueError(f"{steps.height} inserts within {(end - start) / _US:.1f} s: measure longer")
    trades, seen = steps["trades"], steps["seen"]
    return float((trades[-1] - trades[0]) / (seen[-1] - seen[0]) * _US)
