"""Measures the ADR's pipeline under the loads of ours: its sustained rate, then latencies at rates it may reach."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench.adr.place import adr_target
from bench.pipeline import latency, sustained
from bench.plan import Plan

# Rates up to this one are always measured. That the pipeline does not keep up is a result, too.
_ALWAYS = 5_000.0


def measure(plan: Plan, rates: Sequence[float], tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure the ADR's pipeline.

    Returns:
        `sustained` as in `bench.pipeline.sustained`, `latency` as in `bench.pipeline.latency` for each rate, and the
        `skipped` rates, which are far above the sustained one.

    Raises:
        bench.adr.place.AdrError: the pipeline does not start.
        bench.pipeline.runs.LoadError: the pipeline loses trades.
    """
    tell("The ADR to the letter: sustained rate")
    with adr_target() as target:
        most = sustained.measure(target, plan)
    held = [rate for rate in rates if rate <= max(most.trades_per_s, _ALWAYS)]
    latencies = []
    for rate in held:
        tell(f"The ADR to the letter: {rate:,.0f} trades/s")
        with adr_target() as target:
            latencies.append(latency.measure(target, rate, plan).to_dict())
    skipped = [rate for rate in rates if rate not in held]
    return {"sustained": most.to_dict(), "latency": latencies, "skipped": skipped}
