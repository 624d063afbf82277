"""Watches the candles as a reader does: how many trades of each market they count, and when."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

import polars as pl

from bench.pipeline.new_parts import NewParts
from bench.sampler import Sampler

# A look takes 4 ms of CPU or more. With many looks the watcher would slow down what it measures.
PAUSE_S = 0.01
_LISTEN_S = 0.002
# An insert shows its rows a moment after their part has come; until then it is looked at again.
_APPEARS_S = 0.05
_LONGEST_S = 0.25


class Watcher(Sampler):
    """Looks at the candles over one connection while its `with` block runs: at intervals, or after each new part.

    A trade became visible between the first look that shows it and the look before. So latencies from `looks` are never
    too short. At intervals they are too long by half the time between two looks on average. After each new part they
    are too long by the time of one look and the 2 ms within which a part is noticed.
    """

    def __init__(self, client: Any, query: str, pause_s: float = PAUSE_S, parts: NewParts | None = None) -> None:
        """Args:
        client: from `bench.stack.native_client`, for this watcher alone.
        query: returns exchange, symbol and trades.
        pause_s: between two looks at intervals.
        parts: of the table that the query reads. With it, a look follows each new part, and `pause_s` does not count.
        """
        super().__init__(pause_s if parts is None else _LISTEN_S)
        self._client, self._query, self._parts = client, query, parts
        self._looked_s, self._expect_until_s = -_LONGEST_S, 0.0
        self._looks: list[tuple[int, list[tuple[str, str, int]]]] = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            self._client.disconnect()

    @property
    def has_looked(self) -> bool:
        """Whether ClickHouse has answered at least once."""
        self.check()
        return bool(self._looks)

    @property
    def trades(self) -> int:
        """The number of trades in the candles at the last look."""
        return sum(trades for _, _, trades in self._looks[-1][1]) if self.has_looked else 0

    def totals(self) -> pl.DataFrame:
        """Columns `seen` (µs since the epoch) and `trades` of all markets: a row for each look, by time."""
        rows = [(seen, sum(trades for _, _, trades in markets)) for seen, markets in self._looks.copy()]
        return pl.DataFrame(rows, schema={"seen": pl.Int64, "trades": pl.Int64}, orient="row")

    def looks(self) -> pl.DataFrame:
        """Columns `seen` (µs since the epoch), `exchange`, `symbol` and `trades` of the market, by time."""
        schema = {"seen": pl.Int64, "exchange": pl.String, "symbol": pl.String, "trades": pl.Int64}
        rows = [(seen, *market) for seen, markets in self._looks.copy() for market in markets]
        return pl.DataFrame(rows, schema=schema, orient="row")

    def _look(self) -> None:
        if self._parts is not None and not self._is_due(self._parts):
            return
        before = self._looks[-1][1] if self._looks else []
        markets = self._client.execute(self._query)
        self._looks.append((time.time_ns() // 1_000, markets))
        if sorted(markets) != sorted(before):
            self._expect_until_s = 0.0

    def _is_due(self, parts: NewParts) -> bool:
        now = time.monotonic()
        if parts.have_come():
            self._expect_until_s = now + _APPEARS_S
        if now >= self._expect_until_s and now < self._looked_s + _LONGEST_S:
            return False
        self._looked_s = now
        return True
