"""Work on the cores there are: the libraries under it (polars, Arrow) let go of Python's lock while they compute."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

# Each has a piece in memory, and more of them would not fit in what a re-derivation may take. Of two at least one can
# wait for its pages while the other computes.
_FEWEST, _MOST = 2, 4

Result = TypeVar("Result")


def side_by_side(works: Iterable[Callable[[], Result]]) -> Iterator[Result]:
    """Do all of it and give the results in order; what one raises ends it all, when those under way are done."""
    pool = ThreadPoolExecutor(max(_FEWEST, min(_MOST, os.cpu_count() or 1)), thread_name_prefix="side-by-side")
    try:
        for work in [pool.submit(work) for work in works]:
            yield work.result()
    finally:
        pool.shutdown(cancel_futures=True)
