"""Pauses inserts of one day into Silver while the day is replaced.

A constraint on the table of each shard refuses these inserts, and ends by itself. The workers repeat refused inserts.
Trades of other days pass, so the live stream does not wait.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from config.process.retry import poll
from offload.clickhouse.client import HotStore
from offload.clickhouse.server import server_now_us
from offload.clickhouse.shards import Shards
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
    """The time at which a pause ends by itself, by each shard's clock. `ends` (s): in the order of the shards."""

    def __init__(self, shards: Shards, seconds: float) -> None:
        self._shards = shards
        self.ends = [server_now_us(shard) // SECOND_US + int(seconds) + 1 for shard in shards.each]

    def seconds_left(self) -> float:
        """Seconds until the pause of the first shard ends; negative afterwards."""
        pairs = zip(self._shards.each, self.ends, strict=True)
        return min(until_s - server_now_us(shard) / SECOND_US for shard, until_s in pairs)


@contextmanager
def pause(shards: Shards, publication: str, day: Slice, seconds: float) -> Iterator[Deadline]:
    """Keep rows of `day` out of Silver for at most `seconds`. On entry, inserts that began before have ended.

    Raises:
        PauseError: an insert into Silver takes more than a minute.
        HotStoreError: ClickHouse failed, or a replica of a shard is away.
    """
    resume(shards, publication)
    deadline = Deadline(shards, seconds)
    with ExitStack() as at_end:
        at_end.callback(resume, shards, publication)
        for shard, until_s in zip(shards.each, deadline.ends, strict=True):
            span = {"until_s": until_s, "from_us": day.from_us, "to_us": day.to_us}
            shard.command(render("pause_inserts.sql", constraint=f"{NAME}_{publication}", **span), {})
        wait_for_queries(shards.replicas, "inserts_under_way.sql", _INSERT_SECONDS)
        shards.catch_up("silver_trades")
        yield deadline


def resume(shards: Shards, publication: str) -> None:
    """End the pause; does nothing if there is none."""
    with ExitStack() as every:
        # One shard that fails does not keep the others paused.
        for shard in reversed(shards.each):
            every.callback(shard.command, render("resume_inserts.sql", constraint=f"{NAME}_{publication}"), {})


def wait_for_queries(servers: Sequence[HotStore], sql: str, seconds: float) -> None:
    """Wait until the queries that `sql` (a file) finds now on these servers have ended. Later queries do not count.

    Raises:
        PauseError: one of them takes longer than `seconds`.
    """

    def running() -> set[str]:
        return {str(row["query_id"]) for server in servers for row in server.rows(render(sql), {})}

    before = running()
    if before and not poll(lambda: not before & running(), seconds, _POLL_SECONDS):
        queries = ", ".join(sorted(before & running()))
        message = (
            f"Queries that the publication has to wait for have not ended after {seconds:.0f} s ({queries}). "
            "Wait for them or KILL them, then run the same command again."
        )
        raise PauseError(message)
