"""Computes what a run cost, by process."""

from __future__ import annotations

from typing import Any

from bench.pipeline.runs import LoadError, Run

_MB = 2**20
# The watcher and the generator belong to the measurement.
_OWN = ("watcher", "generator")
# The supervisor only starts and watches the others. No trade passes it, so its CPU is not part of a trade's.
_BESIDE = "supervisor"


def usage_rows(run: Run, start: float, end: float, trades: int) -> dict[str, Any]:
    """Cores, CPU µs a trade and peak memory (MiB) of each process, and CPU and memory of the stack as a whole.

    Raises:
        bench.pipeline.runs.LoadError: a process of the stack ended during the run.
    """
    seconds = run.sampler.seconds(start, end)
    # The samples do not cover exactly this window, so CPU a second is used, not CPU in all.
    rate = trades / (end - start)
    by_process = {
        name: {
            "cores": usage.cpu_s / seconds,
            "cpu_us_per_trade": usage.cpu_s / seconds / rate * 1e6,
            "peak_rss_mb": usage.peak_rss / _MB,
        }
        for name, usage in run.sampler.usage(start, end).items()
    }
    if ended := run.sampler.names - by_process.keys() - set(_OWN):
        raise LoadError(f"{', '.join(sorted(ended))} ended during the load, so the cost of a trade is not known")
    stack_mb = run.sampler.all_peak_rss(start, end, without=_OWN) / _MB
    passed = [used["cpu_us_per_trade"] for name, used in by_process.items() if name not in {*_OWN, _BESIDE}]
    return {"processes": by_process, "stack_peak_rss_mb": stack_mb, "stack_cpu_us_per_trade": sum(passed)}
