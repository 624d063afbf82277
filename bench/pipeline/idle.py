"""Measures the CPU of a stack without messages."""

from __future__ import annotations

import time
from typing import Any

from bench.plan import Plan
from bench.sampler import ProcessSampler
from bench.stack import Target


def measure(target: Target, plan: Plan) -> dict[str, Any]:
    """Measure an idle stack over `plan.idle_s`: `percent` of one core in all, and of each process in `processes`.

    Before that it waits `plan.settle_s`, until consumer groups have formed and the node's threads are idle.
    """
    time.sleep(plan.settle_s)
    start = time.time()
    with ProcessSampler(target.pids) as sampler:
        time.sleep(plan.idle_s)
    end = time.time()
    seconds = sampler.seconds(start, end)
    by_process = {name: 100 * used.cpu_s / seconds for name, used in sampler.usage(start, end).items()}
    memory = sampler.all_peak_rss(start, end) / 2**20
    return {"percent": sum(by_process.values()), "processes": by_process, "seconds": seconds, "rss_mb": memory}
