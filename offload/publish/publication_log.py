"""The log of publications (table `rederivations`).

It allows one publication at a time, on all shards. The next process finishes a publication whose process died.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import polars as pl

from offload.clickhouse.client import HotStore
from offload.clickhouse.server import server_now_us
from offload.clickhouse.templates import render
from offload.errors import OffloadError
from offload.publish.view_override import CandleSource
from offload.tables.slices import SECOND_US, instant

# A publisher on another host counts as dead if it has logged no step for this long.
LEASE_SECONDS = 900
PublicationStep = Literal["begun", "switched", "ended"]


class PublicationBusyError(OffloadError):
    """Another re-derivation is publishing."""


@dataclass(frozen=True)
class OpenPublication:
    """A publication that has not ended: some exchanges (`keys`) and the UTC day that begins at `from_us`.

    `frames`: codes of the time frames that were hot when it began; meanwhile their partition may be empty. `owner`:
    host and process id. `lease_us`: until this time (µs, UTC) other hosts treat the owner as alive.
    """

    publication: str
    keys: tuple[str, ...]
    from_us: int
    source: CandleSource
    frames: tuple[str, ...]
    is_switched: bool
    owner: str
    lease_us: int


@dataclass(frozen=True)
class PublicationLog:
    """The table `rederivations`. Rows are added and never changed."""

    hot: HotStore

    def open(self) -> list[OpenPublication]:
        """Publications that have begun and not ended, oldest first."""
        return [
            OpenPublication(
                publication=str(row["publication"]),
                keys=tuple(sorted(row["keys"])),
                from_us=int(row["from_us"]),
                source="silver" if str(row["cover"]).startswith("silver:") else "staged",
                frames=tuple(filter(None, str(row["cover"]).partition(":")[2].split(","))),
                is_switched=bool(row["is_switched"]),
                owner=str(row["owner"]),
                lease_us=int(row["lease_us"]),
            )
            for row in self.hot.rows(render("open_publications.sql"), {})
        ]

    def begin(
        self,
        publication: str,
        keys: Sequence[str],
        from_us: int,
        source: CandleSource,
        frames: Sequence[str],
        rules_version: str,
        beside: Collection[str] = (),
    ) -> OpenPublication:
        """Log a new publication, if there is no other open one. Those of `beside` (ids) do not count.

        Of two that begin at the same moment at least one gives way, whatever their clocks say: each looks for others
        after it has logged itself.

        Raises:
            PublicationBusyError: there is another one; nothing is left of the new one.
        """
        mine = OpenPublication(
            publication, tuple(sorted(keys)), from_us, source, tuple(frames), False, _this_process(), 0
        )
        self.note(mine, "begun", rules_version)
        others = [entry for entry in self.open() if entry.publication not in {publication, *beside}]
        if others:
            self.note(mine, "ended", rules_version)
            raise _busy(others[0])
        return mine

    def is_alive(self, publication: OpenPublication) -> bool:
        """Whether another process may still be working at a publication."""
        host, _, process = publication.owner.rpartition(":")
        if host == socket.gethostname():
            return int(process) != os.getpid() and _is_running(int(process))
        return publication.lease_us > server_now_us(self.hot)

    def note(self, publication: OpenPublication, step: PublicationStep, rules_version: str) -> None:
        """Log a step, with a row for each exchange, and renew the lease."""
        lease = instant(server_now_us(self.hot) + LEASE_SECONDS * SECOND_US)
        rows = pl.DataFrame({"exchange": list(publication.keys)}).select(
            pl.lit(publication.publication).alias("publication"),
            "exchange",
            pl.lit(instant(publication.from_us).date()).alias("day"),
            pl.lit(step).alias("step"),
            pl.lit(f"{publication.source}:{','.join(publication.frames)}").alias("cover"),
            pl.lit(_this_process()).alias("owner"),
            pl.lit(lease, pl.Datetime("us", "UTC")).alias("lease_until"),
            pl.lit(rules_version).alias("rules_version"),
        )
        self.hot.insert("rederivations", rows.to_arrow(compat_level=pl.CompatLevel.oldest()))


def _this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _busy(other: OpenPublication) -> PublicationBusyError:
    until = datetime.fromtimestamp(other.lease_us / SECOND_US, UTC)
    return PublicationBusyError(
        f"Another re-derivation ({other.owner}) is publishing {instant(other.from_us):%Y-%m-%d}: run again when it has "
        f"ended. If its process is dead, its lease ends at {until:%H:%M:%S} UTC."
    )
