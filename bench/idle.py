"""What a stack costs that nothing is sent to."""

from __future__ import annotations

import time
from typing import Any

from bench.plan import Plan
from bench.processes import ProcessSampler
from bench.stack import Target


def measure(target: Target, plan: Plan) -> dict[str, Any]:
    """`percent` of one core that all processes of an idle stack take together over `plan.idle_s`; each in `processes`.

    The stack is left alone for `plan.settle_s` first: consumer groups form and the node's threads come to rest.
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
