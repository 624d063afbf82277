"""Inserts into Silver of one day wait while the day is replaced: a constraint that ends by itself.

The workers repeat what it refuses. Trades of other days go through, so the live stream does not wait.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from offload.clickhouse.client import HotStore
from offload.clickhouse.templates import render
from offload.errors import OffloadError
from offload.tables.slices import SECOND_US, Slice

# Also of the constraint's name in `silver_processor.clickhouse`, where it tells a pause from an error.
NAME = "publishing"
_INSERT_SECONDS = 60


class PauseError(OffloadError):
    """Inserts that began before the pause do not end."""


class Deadline:
    """The moment (server's clock) at which a pause ends by itself."""

    def __init__(self, hot: HotStore, seconds: float) -> None:
        self._hot = hot
        self.until_s = now_us(hot) // SECOND_US + int(seconds) + 1

    def left(self) -> float:
        """Seconds until then."""
        return self.until_s - now_us(self._hot) / SECOND_US


@contextmanager
def pause(hot: HotStore, publication: str, day: Slice, seconds: float) -> Iterator[Deadline]:
    """No row of `day` enters Silver, for at most so many seconds; inserts that began before are over.

    Raises:
        PauseError: an insert into Silver takes more than a minute.
        HotStoreError: ClickHouse failed.
    """
    name = f"{NAME}_{publication}"
    hot.command(render("resume.sql", constraint=name), {})
    deadline = Deadline(hot, seconds)
    hot.command(
        render("pause.sql", constraint=name, until_s=deadline.until_s, from_us=day.from_us, to_us=day.to_us), {}
    )
    try:
        wait_for_queries(hot, "inserts_under_way.sql", _INSERT_SECONDS)
        yield deadline
    finally:
        resume(hot, publication)


def resume(hot: HotStore, publication: str) -> None:
    """Inserts go through again; does nothing where there is no pause."""
    hot.command(render("resume.sql", constraint=f"{NAME}_{publication}"), {})


def wait_for_queries(hot: HotStore, sql: str, seconds: float) -> None:
    """Wait until the queries that `sql` names now have ended; those that come meanwhile do not count.

    Raises:
        PauseError: one of them takes longer.
    """

    def running() -> set[str]:
        return {str(row["query_id"]) for row in hot.rows(render(sql), {})}

    before = running()
    waiting = Retrying(
        retry=retry_if_result(bool), stop=stop_after_delay(seconds), wait=wait_fixed(0.02), sleep=time.sleep
    )
    try:
        waiting(lambda: before & running() if before else before)
    except RetryError as error:
        left = ", ".join(sorted(before & running()))
        message = (
            f"Queries that began before the publication have not ended in {seconds:.0f} s ({left}): "
            "wait for them or KILL them, then run the same command again."
        )
        raise PauseError(message) from error


def now_us(hot: HotStore) -> int:
    """The server's clock, µs."""
    return int(hot.rows(render("clock.sql"), {})[0]["now_us"])
