"""Watches the candles as a reader does: how many trades of each market count in them, and when."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any, Self

import polars as pl

#: A look takes about 3 ms of CPU: more of them would slow down what they measure.
PAUSE_S = 0.01


class Watcher:
    """Asks again and again over one connection while its `with` block runs.

    A trade began to count at some moment between the look that first shows it and the one before: latencies taken from
    `looks` are too long by half the gap between two looks on average, never too short.
    """

    def __init__(self, client: Any, query: str, pause_s: float = PAUSE_S) -> None:
        """`client`: of `bench.stack.native_client`, for this watcher alone; `query` gives exchange, symbol, trades."""
        self._client, self._query, self._pause_s = client, query, pause_s
        self._looks: list[tuple[int, list[tuple[str, str, int]]]] = []
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="candle watcher", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._client.disconnect()
        if error is None and self._failure is not None:
            raise self._failure

    @property
    def has_looked(self) -> bool:
        """Whether ClickHouse has answered once."""
        if self._failure is not None:
            raise self._failure
        return bool(self._looks)

    @property
    def trades(self) -> int:
        """Trades in the candles at the last look."""
        return sum(trades for _, _, trades in self._looks[-1][1]) if self.has_looked else 0

    def totals(self) -> pl.DataFrame:
        """Columns `seen` (µs since the epoch) and `trades` of all markets, a look a row, by time."""
        rows = [(seen, sum(trades for _, _, trades in markets)) for seen, markets in self._looks.copy()]
        return pl.DataFrame(rows, schema={"seen": pl.Int64, "trades": pl.Int64}, orient="row")

    def looks(self) -> pl.DataFrame:
        """Columns `seen` (µs since the epoch), `exchange`, `symbol` and `trades` of that market, by time."""
        schema = {"seen": pl.Int64, "exchange": pl.String, "symbol": pl.String, "trades": pl.Int64}
        rows = [(seen, *market) for seen, markets in self._looks.copy() for market in markets]
        return pl.DataFrame(rows, schema=schema, orient="row")

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._pause_s):
                markets = self._client.execute(self._query)
                self._looks.append((time.time_ns() // 1_000, markets))
        except BaseException as failure:  # noqa: BLE001 - handed to the thread that waits for us
            self._failure = failure
