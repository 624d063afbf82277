"""Waiting for a server that is away: try again with growing pauses until it works or the worker stops."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import structlog
import tenacity

Result = TypeVar("Result")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0


class StoppedError(RuntimeError):
    """The worker stops: what was under way is not done, and its offset stays uncommitted."""


class Patience:
    """Tries an action until it succeeds; nothing is skipped, only `stop` ends the waiting."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop
        self._log = structlog.get_logger()

    def until_done(self, what: str, action: Callable[[], Result], failures: tuple[type[Exception], ...]) -> Result:
        """The action's result; `failures` are logged and tried again after 0.05 s to 5 s, with jitter.

        Raises:
            StoppedError: the worker was told to stop before it succeeded.
        """

        def report(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            self._log.warning("waiting for a server", what=what, attempt=state.attempt_number, error=str(error)[:500])

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(failures),
            stop=tenacity.stop_when_event_set(self.stop),
            sleep=tenacity.sleep_using_event(self.stop),
            wait=tenacity.wait_random_exponential(multiplier=_FIRST_PAUSE, max=_LONGEST_PAUSE),
            before_sleep=report,
        )
        try:
            return retrying(action)
        except tenacity.RetryError as error:
            message = f"stopped while waiting to {what}: {error.last_attempt.exception()}"
            raise StoppedError(message) from error
