"""The back-off of everything that connects: exponential with a cap and jitter, and over at once when it is to end."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_when_event_set,
    wait_exponential_jitter,
)

_FIRST_S = 0.5


def retrying(
    failures: tuple[type[BaseException], ...], longest_s: float, end: asyncio.Event, log: Any, doing: str
) -> AsyncRetrying:
    """To call something until it raises none of `failures`, or `end` is set: then the answer is None.

    Waits half a second at first, `longest_s` at most, and up to a second more by chance. `log` (structlog's) is told
    of each attempt what is done again.
    """

    async def sleep(seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(end.wait(), seconds)

    def say(state: RetryCallState) -> None:
        log.info(doing, attempt=state.attempt_number, wait_s=round(state.upcoming_sleep, 2))

    return AsyncRetrying(
        retry=retry_if_exception_type(failures),
        wait=wait_exponential_jitter(multiplier=min(_FIRST_S, longest_s), max=longest_s, jitter=1.0),
        stop=stop_when_event_set(end),  # type: ignore[arg-type]  # asks only for is_set()
        sleep=sleep,
        before_sleep=say,
        retry_error_callback=lambda _state: None,
    )
