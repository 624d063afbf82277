"""Measures all stages one after the other, and finds the slowest."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.isolated import Lap, isolated
from bench.plan import Plan
from bench.stack import fresh_stack, pids_of, settings_of
from bench.stages.node import node_stages
from bench.stages.producer import obvious_parse_and_encode, parse_and_encode, publish
from bench.stages.silver import core_stages, insert_stages

SMALL_ROWS = 500
_REPETITIONS = 5


@dataclass(frozen=True, slots=True)
class Stage:
    """The laps of a stage. The first one warms up and does not count. `baseline`: the laps of the obvious way."""

    name: str
    laps: Sequence[Lap]
    baseline: Sequence[Lap] = ()

    def figures(self) -> dict[str, Any]:
        """Medians of trades/s, ms a repetition and CPU µs a trade; the spread of trades/s; the ratio to the
        baseline."""
        rate = _rate(self.laps)
        return {
            "stage": self.name,
            "rows": self.laps[0].rows,
            "trades_per_s": rate,
            "slowest_trades_per_s": min(one.rows / one.wall_s for one in self.laps[1:]),
            "fastest_trades_per_s": max(one.rows / one.wall_s for one in self.laps[1:]),
            "wall_ms": statistics.median(one.wall_s for one in self.laps[1:]) * 1e3,
            "cpu_us_per_trade": statistics.median(one.cpu_s / one.rows for one in self.laps[1:]) * 1e6,
            "times_baseline": rate / _rate(self.baseline) if self.baseline else None,
        }


def measure(plan: Plan) -> list[dict[str, Any]]:
    """The figures of each stage, in the order of a trade's way. Small batches show the fixed cost."""
    rows = plan.stage_rows
    node = isolated(node_stages, rows, _REPETITIONS, SMALL_ROWS)
    core = isolated(core_stages, node.bronze_messages, _REPETITIONS)
    with fresh_stack() as state:
        inserts = isolated(
            insert_stages,
            core.silver_rows,
            settings_of(state),
            pids_of(state)["clickhouse"],
            _REPETITIONS,
            SMALL_ROWS,
        )
    stages = [
        Stage(
            "frame → raw message",
            isolated(parse_and_encode, rows, _REPETITIONS),
            isolated(obvious_parse_and_encode, rows, _REPETITIONS),
        ),
        Stage("raw message → broker", isolated(publish, rows, _REPETITIONS)),
        Stage("raw topic → blocks", node.read),
        Stage("blocks → Raw, Bronze, Bronze topic", node.cascade),
        Stage(f"the same, {SMALL_ROWS} rows", node.small_cascade),
        Stage("Bronze message → columns", core.decode),
        Stage("columns → valid, fresh rows", core.validate),
        Stage("rows → Silver and Gold", inserts.whole, inserts.obvious),
        Stage(f"the same, {SMALL_ROWS} rows", inserts.small),
    ]
    figures = [stage.figures() for stage in stages]
    decoded, validated = (one for one in figures if one["stage"] in _CORE)
    both = 1 / (1 / decoded["trades_per_s"] + 1 / validated["trades_per_s"])
    validated["times_baseline"] = both / _rate(core.obvious)
    return figures


_CORE = ("Bronze message → columns", "columns → valid, fresh rows")


def _rate(laps: Sequence[Lap]) -> float:
    return statistics.median(one.rows / one.wall_s for one in laps[1:])
