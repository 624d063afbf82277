"""The ADR's pipeline at the load that ours gets: its sustained rate, then latencies at the rates that it may hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench import latency, sustained
from bench.adr.place import adr_target
from bench.plan import Plan

# The rates at which it is always measured: what it does where it falls behind is a result, too.
_ALWAYS = 5_000.0


def measure(plan: Plan, rates: Sequence[float], tell: Callable[[str], None]) -> dict[str, Any]:
    """`sustained` as `bench.sustained`, `latency` as `bench.latency` a rate, `skipped`: rates far above the first.

    Raises:
        bench.adr.place.AdrError: it does not start.
        bench.runs.LoadError: it loses trades.
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
