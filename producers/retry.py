"""The producers' retry policy for requests to an exchange: pauses double up to a cap."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_attempt,
    stop_when_event_set,
    wait_exponential_jitter,
)

FIRST_S = 0.5
# 2 to this power is more than any cap. It keeps the power from overflowing.
_MOST_DOUBLED = 20


def pause_s(first_s: float, doubled: int, longest_s: float) -> float:
    """`first_s` doubled `doubled` times, at most `longest_s`."""
    return min(first_s * 2.0 ** min(doubled, _MOST_DOUBLED), longest_s)


def retry_until(
    end: asyncio.Event, failures: tuple[type[BaseException], ...], longest_s: float, log: Any, doing: str
) -> AsyncRetrying:
    """Repeats a call until it raises none of `failures`. If `end` is set before that, the result is None.

    The first pause is half a second, the cap is `longest_s`. Up to a second is added at random, so that many producers
    do not return at the same moment. Every repetition is logged with the message `doing`.
    """

    async def sleep(seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(end.wait(), seconds)

    def log_attempt(state: RetryCallState) -> None:
        log.info(doing, attempt=state.attempt_number, wait_s=round(state.upcoming_sleep, 2))

    return AsyncRetrying(
        retry=retry_if_exception_type(failures),
        wait=wait_exponential_jitter(multiplier=min(FIRST_S, longest_s), max=longest_s, jitter=1.0),
        stop=stop_when_event_set(end),  # type: ignore[arg-type]  # asks only for is_set()
        sleep=sleep,
        before_sleep=log_attempt,
        retry_error_callback=lambda _state: None,
    )


def retry_times(
    times: int, is_temporary: Callable[[BaseException], bool], longest_s: float, log: Any, doing: str
) -> AsyncRetrying:
    """Repeats a call while its error is temporary. After `times` calls in all, the last error is raised.

    The pause is the error's `wait_s` if that is set. Otherwise the first pause is half a second, the cap `longest_s`.
    """

    def wait_s(state: RetryCallState) -> float:
        requested_s = float(getattr(_error(state), "wait_s", 0.0))
        return requested_s or pause_s(FIRST_S, state.attempt_number - 1, longest_s)

    def log_attempt(state: RetryCallState) -> None:
        error = _error(state)
        words = str(error) or type(error).__name__
        log.warning(doing, attempt=state.attempt_number, error=words, wait_s=round(state.upcoming_sleep, 2))

    return AsyncRetrying(
        retry=retry_if_exception(is_temporary),
        wait=wait_s,
        stop=stop_after_attempt(times),
        before_sleep=log_attempt,
        reraise=True,
    )


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None
