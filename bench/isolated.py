"""Runs a stage in a process of its own, and measures its time and CPU."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

import psutil

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Lap:
    """One repetition over `rows` trades: wall time, and CPU time of the working processes, s."""

    rows: int
    wall_s: float
    cpu_s: float


def isolated(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call `function` in a new process, so that no stage inherits another's memory, threads or engine."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def lap(rows: int, work: Callable[[], object], others: Sequence[psutil.Process] = ()) -> Lap:
    """Measure one repetition. CPU time is that of this process with all its threads and of `others`."""
    gc.collect()
    processes = (psutil.Process(), *others)
    cpu, started = _cpu_s(processes), time.perf_counter()
    work()
    return Lap(rows, time.perf_counter() - started, _cpu_s(processes) - cpu)


def _cpu_s(processes: Sequence[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))
