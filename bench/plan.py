"""How long and how often to measure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """`runs` runs of `seconds` each after `warm_up_s`, over `markets` markets; stages alone: `stage_rows` trades; the
    cold tier: `cold_rows`; the live producer: `live_trades` a run.
    """

    runs: int
    seconds: float
    warm_up_s: float
    markets: int
    stage_rows: int
    cold_rows: int
    live_trades: int


FULL = Plan(
    runs=3, seconds=15.0, warm_up_s=5.0, markets=40, stage_rows=98_304, cold_rows=2_000_000, live_trades=400_000
)
QUICK = Plan(runs=1, seconds=5.0, warm_up_s=2.0, markets=40, stage_rows=32_768, cold_rows=300_000, live_trades=200_000)
