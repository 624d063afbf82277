"""The worker's retry policy: repeat an action until the server answers or the worker stops."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import structlog
from tenacity import RetryError

from config.process.retry import retry_until_stopped

Result = TypeVar("Result")

_ERROR_CHARACTERS = 500


class WorkerStoppedError(RuntimeError):
    """The worker stops. The action is not done and its Bronze offset stays uncommitted."""


class RetryPolicy:
    """Repeats an action until it succeeds. It gives up only when `stop` is set, so no trade is skipped."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop
        self._log = structlog.get_logger()

    def until_done(self, what: str, action: Callable[[], Result], failures: tuple[type[Exception], ...]) -> Result:
        """Return the action's result. Each of `failures` is logged, and the action is repeated.

        Raises:
            WorkerStoppedError: the worker was told to stop before the action succeeded.
        """

        def report(error: BaseException, attempt: int) -> None:
            self._log.warning("waiting for a server", what=what, attempt=attempt, error=str(error)[:_ERROR_CHARACTERS])

        try:
            return retry_until_stopped(self.stop, failures, report)(action)
        except RetryError as error:
            message = f"the worker stopped before it could {what}: {error.last_attempt.exception()}"
            raise WorkerStoppedError(message) from error
