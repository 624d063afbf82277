"""How long a recorded range lets its worker insert.

The record is fenced by the consumer group, the insert is not: ClickHouse takes whatever comes. A worker that stood
still between the two (SIGSTOP, a suspended machine, a server that was away for hours) may have lost its partition, and
its late insert is harmless only while the server remembers the token. So each request is sent within a minute of a
record, or the record is made again first, which the group refuses to who is no longer in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

LEASE_S = 60.0
# Counts while the machine is suspended, too; Linux only.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class LeaseOverError(RuntimeError):
    """Too long ago that the range was recorded: record it again before the insert."""


def boot_clock() -> float:
    """Seconds since the machine started, suspended or not."""
    return time.clock_gettime(_CLOCK)


class Lease:
    """Runs from its making for `LEASE_S` seconds of `clock`, or until it is revoked."""

    def __init__(self, is_revoked: Callable[[], bool], clock: Callable[[], float] = boot_clock) -> None:
        self._is_revoked, self._clock = is_revoked, clock
        self._since = clock()

    def check(self) -> None:
        """Before every request to insert.

        Raises:
            LeaseOverError: the partition was lost, or may have been.
        """
        if self._is_revoked() or self._clock() - self._since > LEASE_S:
            raise LeaseOverError("the range was recorded too long ago, or the partition is not ours any more")
