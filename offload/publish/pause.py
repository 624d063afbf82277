"""Pauses inserts of one day into Silver while the day is replaced.

A constraint on the table refuses these inserts, and ends by itself. The workers repeat refused inserts. Trades of other
days pass, so the live stream does not wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from config.process.retry import poll
from offload.clickhouse.client import HotStore
from offload.clickhouse.server import server_now_us
from offload.clickhouse.templates import render
from offload.errors import OffloadError
from offload.tables.slices import SECOND_US, Slice

# `silver_processor.clickhouse` recognises a pause by this name of the constraint.
NAME = "publishing"
_INSERT_SECONDS = 60
_POLL_SECONDS = 0.02


class PauseError(OffloadError):
    """Queries that a publication has to wait for do not end."""


class Deadline:
    """The time at which a pause ends by itself, by the server's clock."""

    def __init__(self, hot: HotStore, seconds: float) -> None:
        self._hot = hot
        self.until_s = server_now_us(hot) // SECOND_US + int(seconds) + 1

    def seconds_left(self) -> float:
        """Seconds until the pause ends; negative afterwards."""
        return self.until_s - server_now_us(self._hot) / SECOND_US


@contextmanager
def pause(hot: HotStore, publication: str, day: Slice, seconds: float) -> Iterator[Deadline]:
    """Keep rows of `day` out of Silver for at most `seconds`. On entry, inserts that began before have ended.

    Raises:
        PauseError: an insert into Silver takes more than a minute.
        HotStoreError: ClickHouse failed.
    """
    name = f"{NAME}_{publication}"
    hot.command(render("resume_inserts.sql", constraint=name), {})
    deadline = Deadline(hot, seconds)
    hot.command(
        render("pause_inserts.sql", constraint=name, until_s=deadline.until_s, from_us=day.from_us, to_us=day.to_us), {}
    )
    try:
        wait_for_queries(hot, "inserts_under_way.sql", _INSERT_SECONDS)
        yield deadline
    finally:
        resume(hot, publication)


def resume(hot: HotStore, publication: str) -> None:
    """End the pause; does nothing if there is none."""
    hot.command(render("resume_inserts.sql", constraint=f"{NAME}_{publication}"), {})


def wait_for_queries(hot: HotStore, sql: str, seconds: float) -> None:
    """Wait until the queries that `sql` (a file) finds now have ended. Later queries do not count.

    Raises:
        PauseError: one of them takes longer than `seconds`.
    """

    def running() -> set[str]:
        return {str(row["query_id"]) for row in hot.rows(render(sql), {})}

    before = running()
    if before and not poll(lambda: not before & running(), seconds, _POLL_SECONDS):
        queries = ", ".join(sorted(before & running()))
        message = (
            f"Queries that the publication has to wait for have not ended after {seconds:.0f} s ({queries}). "
            "Wait for them or KILL them, then run the same command again."
        )
        raise PauseError(message)
