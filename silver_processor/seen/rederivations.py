"""Follows re-derivations: when one replaces a day of an exchange, the index forgets the exchange's trades."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from itertools import count

import pyarrow as pa
import pyarrow.compute as pc

from silver_processor.clickhouse import SilverPausedError
from silver_processor.seen.index import SeenTrades

# A trade younger than this is of a day that no re-derivation replaces: a day is re-derived two minutes after its end at
# the earliest, and clocks may differ by the other minute.
LIVE = timedelta(minutes=1)
_POLL_SECONDS = 1.0


class RederivationFollower:
    """Checks for re-derivations once a second, and before every insert that has a trade older than `LIVE`.

    `replaced_days`: returns how often a day was replaced, by exchange (`HeldTrades.rederivations`). `clock`: seconds,
    monotonic.
    """

    def __init__(
        self, replaced_days: Callable[[], Mapping[str, int]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._replaced_days, self._clock = replaced_days, clock
        self._known: dict[str, int] | None = None
        self._checked_at = float("-inf")

    def follow(self, seen: SeenTrades, valid: pa.Table, now: datetime) -> None:
        """Make `seen` forget every exchange of which a day was replaced since the last check.

        `valid`: the rows of the next insert (column timestamp). `now` is UTC.

        Raises:
            WorkerStoppedError: the worker stops.
        """
        oldest = pc.min(valid["timestamp"]).as_py()
        is_live = oldest is None or oldest > now - LIVE
        if is_live and self._clock() < self._checked_at + _POLL_SECONDS:
            return
        self._checked_at = self._clock()
        current = dict(self._replaced_days())
        known, self._known = self._known, current
        if known is None:
            # Trades that were loaded before the first check may be of a day that has been replaced since.
            seen.forget()
        elif current != known:
            seen.forget_exchanges({exchange for exchange, days in current.items() if known.get(exchange) != days})

    def is_outdated(self) -> bool:
        """Whether a day was replaced since the last check.

        Raises:
            WorkerStoppedError: the worker stops.
        """
        return dict(self._replaced_days()) != self._known

    def before_request(self, check: Callable[[], None]) -> Callable[[], None]:
        """The check before every request of one insert: `check`, and from the second request on `is_outdated`.

        Raises (when called):
            SilverPausedError: a day was replaced after the rows were split, so other rows may be new now.
            WorkerStoppedError: the worker stops.
        """
        attempts = count()

        def run() -> None:
            check()
            if next(attempts) and self.is_outdated():
                raise SilverPausedError("a re-derivation was published between two attempts")

        return run
