"""The retry policy: how long to pause before the next attempt, and when to give up. Every retry is built here."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

import tenacity
from tenacity import AsyncRetrying, RetryCallState, Retrying

# The first pause before an exchange is asked again.
FIRST_S = 0.5
# In each round one writer of a table succeeds, so ten tries are enough for ten writers.
CONFLICT_TRIES = 10
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 5.0
# A process that waits for its turn says so after this time, and again at intervals.
_PATIENCE_S, _REMINDER_S = 3.0, 60.0
# 2 to this power is more than any cap. It keeps the power from overflowing.
_MOST_DOUBLED = 20

Result = TypeVar("Result")
Function = TypeVar("Function", bound=Callable[..., object])


def pause_s(first_s: float, doubled: int, longest_s: float, jitter_s: float = 0.0) -> float:
    """`first_s` doubled `doubled` times, plus up to `jitter_s` at random; at most `longest_s`."""
    jitter = random.uniform(0.0, jitter_s)  # noqa: S311  # nothing here is secret
    return min(first_s * 2.0 ** min(doubled, _MOST_DOUBLED) + jitter, longest_s)


def retry_until_stopped(
    stop: threading.Event, failures: tuple[type[Exception], ...], tell: Callable[[BaseException, int], None]
) -> Retrying:
    """For threads that wait for a server. Repeats a call while it raises one of `failures`; others are raised at once.

    Pauses are random. Their upper bound is 0.05 s at first and doubles up to 5 s, so that many processes do not come
    back at the same moment.

    Args:
        stop: ends the pause and the repetition.
        failures: errors after which the call is repeated.
        tell: called before each pause with the error and the number of attempts so far.

    Raises:
        tenacity.RetryError: (from the call) `stop` was set before the call succeeded.
    """

    def before_sleep(state: RetryCallState) -> None:
        error = _error(state)
        assert error is not None
        tell(error, state.attempt_number)

    return Retrying(
        retry=tenacity.retry_if_exception_type(failures),
        stop=tenacity.stop_when_event_set(stop),
        sleep=tenacity.sleep_using_event(stop),
        wait=tenacity.wait_random_exponential(multiplier=_FIRST_PAUSE_S, max=_LONGEST_PAUSE_S),
        before_sleep=before_sleep,
    )


def retry_until(
    end: asyncio.Event, failures: tuple[type[BaseException], ...], longest_s: float, log: Any, doing: str
) -> AsyncRetrying:
    """For connections. Repeats a call until it raises none of `failures`. If `end` is set first, the result is None.

    The first pause is half a second, the cap is `longest_s`. Up to a second is added at random, so that many producers
    do not return at the same moment. Every repetition is logged with the message `doing`.
    """

    async def sleep(seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(end.wait(), seconds)

    def log_attempt(state: RetryCallState) -> None:
        log.info(doing, attempt=state.attempt_number, wait_s=round(state.upcoming_sleep, 2))

    return AsyncRetrying(
        retry=tenacity.retry_if_exception_type(failures),
        wait=lambda state: pause_s(min(FIRST_S, longest_s), state.attempt_number - 1, longest_s, jitter_s=1.0),
        stop=tenacity.stop_when_event_set(end),  # type: ignore[arg-type]  # asks only for is_set()
        sleep=sleep,
        before_sleep=log_attempt,
        retry_error_callback=lambda _state: None,
    )


def retry_times(
    times: int, is_temporary: Callable[[BaseException], bool], longest_s: float, log: Any, doing: str
) -> AsyncRetrying:
    """For requests. Repeats a call while its error is temporary. After `times` calls in all, the last error is raised.

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
        retry=tenacity.retry_if_exception(is_temporary),
        wait=wait_s,
        stop=tenacity.stop_after_attempt(times),
        before_sleep=log_attempt,
        reraise=True,
    )


def retry_for(seconds: float, failures: tuple[type[Exception], ...], first_s: float, longest_s: float) -> Retrying:
    """For services that are starting. Repeats a call while it raises one of `failures`, for about `seconds`.

    The first pause is `first_s`, the cap `longest_s`. After `seconds` the error of the last call is raised.
    """
    return Retrying(
        retry=tenacity.retry_if_exception_type(failures),
        wait=lambda state: pause_s(first_s, state.attempt_number - 1, longest_s),
        stop=tenacity.stop_after_delay(seconds),
        reraise=True,
    )


def retry_on_conflict(*failures: type[Exception]) -> Callable[[Function], Function]:
    """For a process that loses a race against another one: a decorator.

    It repeats a call that raises one of `failures`, after 10 to 300 ms, up to `CONFLICT_TRIES` calls in all. The error
    of the last call is raised.
    """
    decorate = tenacity.retry(
        retry=tenacity.retry_if_exception_type(failures),
        stop=tenacity.stop_after_attempt(CONFLICT_TRIES),
        wait=tenacity.wait_random(0.01, 0.3),
        reraise=True,
    )
    return cast("Callable[[Function], Function]", decorate)


def retry_in_turn(seconds: float, failures: tuple[type[Exception], ...], log: Any, doing: str) -> Retrying:
    """For processes that take turns. Repeats a call while it raises one of `failures`, for about `seconds`.

    Pauses are random, 0.2 to 2 s, so that two processes do not meet again and again. A wait of more than a few seconds
    is logged with the message `doing` and the error, again every minute. After `seconds` the error of the last call is
    raised.
    """
    log_at_s = _PATIENCE_S

    def log_wait(state: RetryCallState) -> None:
        nonlocal log_at_s
        waited_s = state.seconds_since_start or 0.0
        if waited_s >= log_at_s:
            log_at_s = waited_s + _REMINDER_S
            log.warning(doing, error=str(_error(state)), waited_s=round(waited_s), longest_s=round(seconds))

    return Retrying(
        retry=tenacity.retry_if_exception_type(failures),
        stop=tenacity.stop_after_delay(seconds),
        wait=tenacity.wait_random(0.2, 2.0),
        before_sleep=log_wait,
        reraise=True,
    )


def poll(check: Callable[[], Result], seconds: float, interval_s: float) -> Result:
    """Call `check` every `interval_s` until its result is true, for about `seconds`.

    Returns:
        the last result, which is false if the time was up.
    """
    polling = Retrying(
        retry=tenacity.retry_if_result(lambda result: not result),
        wait=tenacity.wait_fixed(interval_s),
        stop=tenacity.stop_after_delay(seconds),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )
    return polling(check)


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None
