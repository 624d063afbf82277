"""The length and number of runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """The length and number of runs.

    The whole pipeline has `runs` runs of `seconds` each with `markets` markets. The first `lead_s` of a run do not
    count. Before the first run, loads of `warm_up_s` warm the pipeline up until the median latency has settled, at most
    `warm_ups` of them. A single stage gets `stage_rows` trades, the cold tier `cold_rows`, a series `bars`, a run of
    the live producer `live_trades`. An idle stack comes to rest for `settle_s`, then it is measured for `idle_s`.
    """

    runs: int
    seconds: float
    lead_s: float
    warm_up_s: float
    warm_ups: int
    markets: int
    stage_rows: int
    cold_rows: int
    bars: int
    live_trades: int
    settle_s: float
    idle_s: float


FULL = Plan(
    runs=3,
    seconds=12.0,
    lead_s=2.0,
    warm_up_s=8.0,
    warm_ups=4,
    markets=40,
    stage_rows=98_304,
    cold_rows=2_000_000,
    bars=200_000,
    live_trades=400_000,
    settle_s=20.0,
    idle_s=60.0,
)
QUICK = Plan(
    runs=1,
    seconds=5.0,
    lead_s=1.0,
    warm_up_s=4.0,
    warm_ups=3,
    markets=40,
    stage_rows=32_768,
    cold_rows=300_000,
    bars=60_000,
    live_trades=200_000,
    settle_s=10.0,
    idle_s=20.0,
)
