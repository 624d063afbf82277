"""Following re-derivations: the trades known of an exchange are loaded again when one of its days was replaced."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from itertools import count

import pyarrow as pa
import pyarrow.compute as pc

from silver_processor.seen.index import SeenTrades
from silver_processor.seen.paused import PausedError

# Only days that have been over for two minutes are re-derived; the rest is for clocks that differ.
LIVE = timedelta(minutes=1)
_POLL_SECONDS = 1.0


class Rederived:
    """Looks before an insert that has a trade of a day that may be replaced, otherwise once a second.

    `switches` tells how often each exchange had a day replaced (see `silver_processor.inserts.store.Store.rederived`).
    """

    def __init__(self, switches: Callable[[], Mapping[str, int]], clock: Callable[[], float] = time.monotonic) -> None:
        self._switches, self._clock = switches, clock
        self._known: dict[str, int] | None = None
        self._looked = float("-inf")

    def follow(self, seen: SeenTrades, valid: pa.Table, now: datetime) -> None:
        """Let `seen` forget what Silver may no longer have, or have since; `now` (UTC) is the worker's clock.

        Raises:
            StoppedError: the worker stops.
        """
        oldest = pc.min(valid["timestamp"]).as_py()
        is_live = oldest is None or oldest > now - LIVE
        if is_live and self._clock() < self._looked + _POLL_SECONDS:
            return
        self._looked = self._clock()
        found = dict(self._switches())
        known, self._known = self._known, found
        if known is None:
            # What was loaded before the first look may be older than a switch.
            seen.forget()
        elif found != known:
            seen.forget_exchanges({exchange for exchange, count in found.items() if known.get(exchange) != count})

    def is_stale(self) -> bool:
        """Whether a day was replaced since the last look.

        Raises:
            StoppedError: the worker stops.
        """
        return dict(self._switches()) != self._known

    def guard(self, before: Callable[[], None]) -> Callable[[], None]:
        """What is to run before every request of one insert: `before`, and from the second on a look for staleness.

        Raises (when called):
            PausedError: a day was replaced since the rows were split, so they may be others.
            StoppedError: the worker stops.
        """
        attempts = count()

        def check() -> None:
            before()
            if next(attempts) and self.is_stale():
                raise PausedError("a re-derivation was published between two attempts")

        return check
