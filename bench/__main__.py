"""`python -m bench [all|stages|throughput|latency|silver|cold|live|memory] [--quick]`: measure, show, keep as JSON."""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import latency, machine, show, throughput
from bench.cold import measure as cold_tier
from bench.cold import show as show_cold
from bench.live import measure as live
from bench.plan import FULL, QUICK, Plan
from bench.silver import measure as silver
from bench.silver import memory
from bench.silver import show as show_silver
from bench.stack import fresh_stack
from bench.stages import measure as stages

_RESULTS = Path(__file__).with_name("results")
_RATES = (1_000.0, 5_000.0, 20_000.0)
_KINDS = ("stages", "throughput", "latency", "silver", "cold", "live")


def main() -> int:
    """Run the chosen measurements."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("what", nargs="?", default="all", choices=("all", *_KINDS, "memory"))
    parser.add_argument("--quick", action="store_true", help="one short run of each, about a minute")
    parser.add_argument("--rate", type=float, action="append", help="trades/s for latency; may be repeated")
    parser.add_argument("--trades", type=int, default=50_000_000, help="of `memory`, which `all` leaves out")
    parser.add_argument("--markets", type=int, action="append", help="of `memory`; 1 and 500 unless given")
    given = parser.parse_args()
    plan = QUICK if given.quick else FULL
    chosen = _KINDS if given.what == "all" else (given.what,)
    console = Console(width=120 if not sys.stdout.isatty() else None)
    result: dict[str, Any] = {"at": datetime.now(UTC).isoformat(), "machine": machine.describe(), "plan": repr(plan)}
    show.machine(console, result["machine"])
    started = time.monotonic()
    if "stages" in chosen:
        result["stages"] = stages.measure(plan)
        show.stages(console, result["stages"])
    if "throughput" in chosen:
        result["throughput"] = _throughput(console, plan)
    if "latency" in chosen:
        result["latency"] = _latency(console, plan, given.rate or _RATES)
    if "silver" in chosen:
        result["silver"] = silver.measure(plan, console.print)
        show_silver.contest(console, result["silver"])
    if "cold" in chosen:
        result["cold"] = cold_tier.measure(plan, console.print)
        show_cold.cold(console, result["cold"])
    if "live" in chosen:
        result["live"] = live.measure(plan)
        show.live(console, result["live"])
    if "memory" in chosen:
        result["memory"] = [
            memory.measure(given.trades, markets, console.print) for markets in given.markets or (1, 500)
        ]
        show_silver.memory(console, result["memory"])
    result["seconds"] = time.monotonic() - started
    result["load_average_after"] = machine.describe()["load_average"]
    console.print(f"\n{result['seconds']:.0f} s. Kept in {_keep(result)}")
    return 0


def _throughput(console: Console, plan: Plan) -> list[dict[str, Any]]:
    with fresh_stack() as state:
        found = throughput.measure(state, plan)
    show.throughput(console, found)
    return found.runs


def _latency(console: Console, plan: Plan, rates: tuple[float, ...] | list[float]) -> list[dict[str, Any]]:
    kept = []
    for rate in rates:
        # A stack of its own for each rate: what one left to merge would slow the next.
        with fresh_stack() as state:
            found = latency.measure(state, rate, plan)
        show.latency(console, found)
        kept.append({"rate": rate, "median": found.stages.to_dicts(), "runs": found.runs})
    return kept


def _keep(result: dict[str, Any]) -> Path:
    _RESULTS.mkdir(exist_ok=True)
    path = _RESULTS / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}.json"
    path.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return path


if __name__ == "__main__":
    sys.exit(main())
