"""Notices a process that runs and no longer answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

# A machine that is busy for some seconds is not a silent process.
BOUND_S = 30.0
_INTERVAL_S = 2.0
END_S = 5.0


async def until_silent(
    alive: Callable[[], Awaitable[bool]],
    bound_s: float = BOUND_S,
    interval_s: float = _INTERVAL_S,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Ask again and again; returns when no answer has come for `bound_s` seconds.

    Args:
        alive: whether the process answers now; it takes some seconds at most.
        bound_s: how long it may be silent.
        interval_s: how long to wait between two questions.
        clock: gives seconds.
    """
    answered = clock()
    while clock() - answered < bound_s:
        await asyncio.sleep(interval_s)
        if await alive():
            answered = clock()
