"""Measures the cold tier: each layer's offload, the re-derivation, and two obvious ways to write Silver."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from statistics import median
from typing import Any

from bench.cold.tier import Tier, tier
from bench.plan import Plan

LAYERS = ("raw", "bronze", "silver", "gold")
DRY_RUN = "rederive-look"
# Only one row in so many is appended row by row: this is slow, and its rate does not depend on the number of rows.
_ROW_WISE_PART = 20
_SCRIPT = "bench.cold.work"


class ColdError(RuntimeError):
    """A piece of work failed. The message is that of its process."""


def rederivation(plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure only the re-derivation's dry run.

    Raises:
        ColdError: the dry run failed.
    """
    with tier(plan.cold_rows, say) as place:
        # The re-derivation reads what the offload wrote.
        for layer in ("bronze", "silver"):
            _work(layer, place, plan.cold_rows)
        return _median(DRY_RUN, place, plan.cold_rows, plan.runs, say)


def measure(plan: Plan, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measure each kind of work. Figures are medians over the runs; before them, one run that does not count.

    With one run there is none before it.

    Raises:
        ColdError: a piece of work failed.
    """
    found = []
    with tier(plan.cold_rows, say) as place:
        for kind in (*LAYERS, DRY_RUN, "rederive"):
            found.append(_median(kind, place, plan.cold_rows, plan.runs, say))
    for kind in ("row-wise", "arrow"):
        # A separate warehouse, because appends would double the trades to re-derive.
        rows = plan.cold_rows // _ROW_WISE_PART if kind == "row-wise" else plan.cold_rows
        with tier(rows, say) as place:
            found.append(_median(kind, place, rows, plan.runs, say))
    obvious = next(one["rows_per_s"] for one in found if one["kind"] == "row-wise")
    for one in found:
        one["times_row_wise"] = one["rows_per_s"] / obvious if one["kind"] in {"silver", "arrow"} else None
    return found


def _median(kind: str, place: Tier, rows: int, runs: int, say: Callable[[str], None]) -> dict[str, Any]:
    warm_up = 0 if runs == 1 else 1
    laps = [_work(kind, place, rows) for _ in range(warm_up + runs)][warm_up:]
    rates = [lap["rows"] / lap["seconds"] for lap in laps]
    say(f"Cold tier, {kind}: {median(rates):,.0f} rows/s, at most {max(lap['peak_rss_mb'] for lap in laps):,.0f} MiB")
    return {
        "kind": kind,
        "rows": laps[0]["rows"],
        "rows_per_s": median(rates),
        "slowest_rows_per_s": min(rates),
        "fastest_rows_per_s": max(rates),
        "mb_per_s": median(lap["bytes"] / lap["seconds"] / 1e6 for lap in laps),
        "peak_rss_mb": max(lap["peak_rss_mb"] for lap in laps),
        "node_cpu_s": median(lap["node_cpu_s"] for lap in laps),
        "own_cpu_s": median(lap["cpu_s"] for lap in laps),
        "laps": laps,
    }


def _work(kind: str, place: Tier, rows: int) -> dict[str, Any]:
    settings = place.settings.model_dump_json(exclude={"clickhouse_password"})
    command = [sys.executable, "-m", _SCRIPT, kind, settings, str(rows), place.day.isoformat()]
    secret = {"MEDALLION_CLICKHOUSE_PASSWORD": place.settings.clickhouse_password.get_secret_value()}
    before = place.node.cpu_times()
    done = subprocess.run(command, env={**os.environ, **secret}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ColdError(f"{kind}: {done.stderr[-2000:]}")
    after = place.node.cpu_times()
    lap: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**lap, "node_cpu_s": after.user + after.system - before.user - before.system}
