"""The worker's retry policy: a server that is away is asked again until it answers or the worker stops."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import structlog
import tenacity

Result = TypeVar("Result")

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 5.0
_ERROR_CHARACTERS = 500


class WorkerStoppedError(RuntimeError):
    """The worker stops. The action is not done and its Bronze offset stays uncommitted."""


class RetryPolicy:
    """Repeats an action until it succeeds. It gives up only when `stop` is set, so no trade is skipped."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop
        self._log = structlog.get_logger()

    def until_done(self, what: str, action: Callable[[], Result], failures: tuple[type[Exception], ...]) -> Result:
        """Return the action's result.

        Each of `failures` is logged and the action is repeated after 0.05 s to 5 s, chosen at random. Any other
        exception is raised at once.

        Raises:
            WorkerStoppedError: the worker was told to stop before the action succeeded.
        """

        def report(state: tenacity.RetryCallState) -> None:
            error = str(state.outcome.exception() if state.outcome else None)[:_ERROR_CHARACTERS]
            self._log.warning("waiting for a server", what=what, attempt=state.attempt_number, error=error)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(failures),
            stop=tenacity.stop_when_event_set(self.stop),
            sleep=tenacity.sleep_using_event(self.stop),
            wait=tenacity.wait_random_exponential(multiplier=_FIRST_PAUSE_S, max=_LONGEST_PAUSE_S),
            before_sleep=report,
        )
        try:
            return retrying(action)
        except tenacity.RetryError as error:
            message = f"the worker stopped before it could {what}: {error.last_attempt.exception()}"
            raise WorkerStoppedError(message) from error
