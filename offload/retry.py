"""The one retry policy of the cold tier: who loses a race against another process tries again, a few times."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

# Of several writers of one table one wins each round, so ten tries let ten writers through.
TRIES = 10
Function = TypeVar("Function", bound=Callable[..., object])


def retry_on(*failures: type[Exception]) -> Callable[[Function], Function]:
    """A decorator: call again after 10 to 300 ms when one of `failures` is raised; the last one is raised."""
    decorate = retry(
        retry=retry_if_exception_type(failures),
        stop=stop_after_attempt(TRIES),
        wait=wait_random(0.01, 0.3),
        reraise=True,
    )
    return cast("Callable[[Function], Function]", decorate)
