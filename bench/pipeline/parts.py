"""Counts active parts of every table, after a run or during a long one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from bench.pipeline.runs import run_load, select
from bench.pipeline.usage import usage_rows
from bench.plan import Plan
from bench.sampler import Sampler
from bench.stack import Target

RATE = 5_000.0
HOUR_S = 3_600.0
SHORT_S = 60.0
_SAMPLES = 60
# Parts that pile up behind a large merge are there for seconds only. A sample a minute misses most of them.
_PERIOD_S = 5.0
# The looks at the candles are kept in memory, up to an hour of them. One a second is enough to see that trades arrive.
_PAUSE_S = 1.0
_SQL = (Path(__file__).with_name("sql") / "parts.sql").read_text(encoding="utf-8")


def active_parts(target: Target) -> list[dict[str, Any]]:
    """The current `table`, `partition` and `parts` of every partition with active parts."""
    return select(target, _SQL).to_dicts()


def most_parts(samples: Sequence[dict[str, Any]]) -> int:
    """The most parts of one partition of any table."""
    return max((int(one["parts"]) for one in samples), default=0)


class PartsSampler(Sampler):
    """Samples `active_parts` at intervals."""

    def __init__(self, target: Target, period_s: float) -> None:
        super().__init__(period_s)
        self._target = target
        self._started = time.monotonic()
        self.samples: list[dict[str, Any]] = []

    def _look(self) -> None:
        at_s = time.monotonic() - self._started
        self.samples += [{"at_s": round(at_s, 1), **one} for one in active_parts(self._target)]


def measure(target: Target, plan: Plan, rate: float = RATE, seconds: float = SHORT_S) -> dict[str, Any]:
    """Run a load of `rate` trades/s for `seconds`, and sample parts sixty times, or every 5 s of a longer run."""
    with PartsSampler(target, min(seconds / _SAMPLES, _PERIOD_S)) as sampler:
        run = run_load(target, rate, seconds, plan.markets, _PAUSE_S)
        usage = usage_rows(run, run.load.started, run.load.ended, run.load.published)
    return {
        "rate": rate,
        "seconds": seconds,
        "trades": run.load.published,
        "most": most_parts(sampler.samples),
        "tables": by_table(sampler.samples, seconds),
        "samples": sampler.samples,
        **usage,
    }


def by_table(samples: Sequence[dict[str, Any]], seconds: float) -> list[dict[str, Any]]:
    """The most parts of a partition of each table, in the second and the last quarter of the time, and in all.

    The number stays flat if the last quarter has no more than the second. The first quarter fills an empty table.
    """
    if not samples:
        return []
    quarter = pl.col("at_s") / seconds * 4
    return (
        pl.DataFrame(samples)
        .group_by("table")
        .agg(
            pl.col("parts").filter(quarter.is_between(1, 2)).max().alias("second_quarter"),
            pl.col("parts").filter(quarter >= 3).max().alias("last_quarter"),
            pl.col("parts").max().alias("most"),
        )
        .sort("table")
        .to_dicts()
    )
