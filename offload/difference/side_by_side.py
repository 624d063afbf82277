"""Two pieces of work side by side: the libraries under them (polars, Arrow) let go of Python's lock while they compute.

Polars has a thread for each core besides, so that two keep more cores busy than two. One waits for its pages while the
other computes. Each has a piece of a file in memory, several times over: more would not fit in what a re-derivation may
take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_SIDES = 2

Result = TypeVar("Result")


def in_parallel(works: Iterable[Callable[[], Result]]) -> Iterator[Result]:
    """Do all of it and give the results in order; what one raises ends it all, when those under way are done."""
    pool = ThreadPoolExecutor(_SIDES, thread_name_prefix="side-by-side")
    try:
        for work in [pool.submit(work) for work in works]:
            yield work.result()
    finally:
        pool.shutdown(cancel_futures=True)
