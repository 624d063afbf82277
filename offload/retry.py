"""The retry policy of the cold tier, for a process that loses a race against another process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

# In each round one writer of a table succeeds, so ten tries are enough for ten writers.
TRIES = 10
Function = TypeVar("Function", bound=Callable[..., object])


def retry_on(*failures: type[Exception]) -> Callable[[Function], Function]:
    """A decorator that repeats a call that raises one of `failures`, after 10 to 300 ms, up to `TRIES` calls in all.

    The error of the last call is raised.
    """
    decorate = retry(
        retry=retry_if_exception_type(failures),
        stop=stop_after_attempt(TRIES),
        wait=wait_random(0.01, 0.3),
        reraise=True,
    )
    return cast("Callable[[Function], Function]", decorate)
