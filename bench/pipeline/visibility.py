"""Watches the candles as a reader does: how many trades of each market they count, and when."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

import polars as pl

from bench.sampler import Sampler

# A look takes about 4 ms of CPU. More looks would slow down what they measure.
PAUSE_S = 0.01


class Watcher(Sampler):
    """Looks at the candles at intervals, over one connection, while its `with` block runs.

    A trade became visible between the first look that shows it and the look before. So latencies from `looks` are never
    too short. They are too long by half the time between two looks on average.
    """

    def __init__(self, client: Any, query: str, pause_s: float = PAUSE_S) -> None:
        """`client` is from `bench.stack.native_client`, for this watcher alone. `query` returns exchange, symbol and
        trades."""
        super().__init__(pause_s)
        self._client, self._query = client, query
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
        markets = self._client.execute(self._query)
        self._looks.append((time.time_ns() // 1_000, markets))
