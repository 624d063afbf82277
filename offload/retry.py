"""The one retry policy of the cold tier: who loses a race against another process tries again, a few times."""

from __future__ import annotations

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

# Each loser has lost to a winner, so ten tries let ten writers of one table through.
TRIES = 10


def retry_on(*failures: type[Exception]) -> retry:
    """A decorator: call again after 10 to 300 ms when one of `failures` is raised; the last failure is raised."""
    return retry(
        retry=retry_if_exception_type(failures),
        stop=stop_after_attempt(TRIES),
        wait=wait_random(0.01, 0.3),
        reraise=True,
    )
