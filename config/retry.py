"""The retry policy of threads that wait for a server: try again until it works or the process stops."""

from __future__ import annotations

import threading
from collections.abc import Callable

import tenacity

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 5.0


def retry_until_stopped(
    stop: threading.Event, failures: tuple[type[Exception], ...], tell: Callable[[BaseException, int], None]
) -> tenacity.Retrying:
    """Repeats a call while it raises one of `failures`. Any other exception is raised at once.

    Pauses are random. Their upper bound is 0.05 s at first and doubles up to 5 s, so that many processes do not come
    back at the same moment.

    Args:
        stop: ends the pause and the repetition.
        failures: errors after which the call is repeated.
        tell: called before each pause with the error and the number of attempts so far.

    Raises:
        tenacity.RetryError: (from the call) `stop` was set before the call succeeded.
    """

    def before_sleep(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        assert error is not None
        tell(error, state.attempt_number)

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(failures),
        stop=tenacity.stop_when_event_set(stop),
        sleep=tenacity.sleep_using_event(stop),
        wait=tenacity.wait_random_exponential(multiplier=_FIRST_PAUSE_S, max=_LONGEST_PAUSE_S),
        before_sleep=before_sleep,
    )
