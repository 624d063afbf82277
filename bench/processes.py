"""Samples CPU time and memory of processes during a run."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import psutil

from bench.sampler import Sampler

_PERIOD_S = 0.25


@dataclass(frozen=True, slots=True)
class Usage:
    """The usage of one process in a time window: CPU time of all its threads (s), and peak resident memory (bytes)."""

    cpu_s: float
    peak_rss: int


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    cpu_s: dict[str, float]
    rss: dict[str, int]


class ProcessSampler(Sampler):
    """Samples CPU and memory. `all_peak_rss` counts a shared page once for each process."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        super().__init__(_PERIOD_S)
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._samples: list[_Sample] = []

    @property
    def names(self) -> frozenset[str]:
        """The names of the sampled processes, running or not."""
        return frozenset(self._processes)

    def usage(self, start: float, end: float) -> dict[str, Usage]:
        """The usage by process name between two times (`time.time()`), from the first to the last sample within them.

        Raises:
            ValueError: fewer than two samples lie between the times.
        """
        within = self._within(start, end)
        first, last = within[0], within[-1]
        return {
            name: Usage(
                last.cpu_s[name] - first.cpu_s[name],
                max(sample.rss[name] for sample in within),
            )
            for name in first.cpu_s
            if name in last.cpu_s
        }

    def all_peak_rss(self, start: float, end: float, without: Collection[str] = ()) -> int:
        """The largest sum of resident memory of all processes but those named, bytes."""
        return max(
            sum(rss for name, rss in sample.rss.items() if name not in without) for sample in self._within(start, end)
        )

    def seconds(self, start: float, end: float) -> float:
        """The time between the first and the last sample that `usage` takes from this window."""
        within = self._within(start, end)
        return within[-1].at - within[0].at

    def _within(self, start: float, end: float) -> list[_Sample]:
        within = [sample for sample in self._samples if start <= sample.at <= end]
        if len(within) < 2:
            raise ValueError(f"a window of {end - start:.2f} s holds fewer than two samples: measure longer")
        return within

    def _look(self) -> None:
        self._samples.append(self._sample())

    def _sample(self) -> _Sample:
        cpu_s: dict[str, float] = {}
        rss: dict[str, int] = {}
        for name, process in self._processes.items():
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    rss[name] = process.memory_info().rss
                    cpu_s[name] = times.user + times.system
            except psutil.NoSuchProcess:
                continue
        return _Sample(time.time(), cpu_s, rss)
