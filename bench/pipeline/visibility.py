"""Watches the candles as a reader does: how many trades of each market they count, and when."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import polars as pl

from bench.sampler import Sampler

# The folder of the table is read so often.
_PERIOD_S = 0.002
# Without a new part, there is a look after so long.
_LONGEST_S = 0.1


@dataclass(frozen=True, slots=True)
class Look:
    """Two queries: `trades` returns exchange, symbol and trades, `parts` the folder of the table that it reads and how
    the names of the parts begin that it reads there."""

    trades: str
    parts: str


class Watcher(Sampler):
    """Looks at the candles, over one connection, when their table gets new parts, while its `with` block runs.

    A look takes 5 ms of CPU and more, so looking all the time slows down what is measured: looks that were 10 ms apart
    made every layer slower. An insert writes its part to the table's folder just before a reader sees it, and a look
    follows.

    A trade became visible before the look that shows it, so latencies from `looks` are never too short.
    """

    def __init__(self, client: Any, look: Look, pause_s: float = 0.0) -> None:
        """`client` is from `bench.stack.native_client`, for this watcher alone, and its node runs on this machine.
        `pause_s`: at least so long is between two looks."""
        super().__init__(_PERIOD_S)
        self._client, self._query, self._pause_s = client, look.trades, pause_s
        [(folder, self._prefix)] = client.execute(look.parts)
        self._folder = Path(folder)
        self._inserted: set[str] = set()
        self._looked_s = -_LONGEST_S
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
        now = time.monotonic()
        if now - self._looked_s < max(self._pause_s, 0 if self._has_new_parts() else _LONGEST_S):
            return
        markets = self._client.execute(self._query)
        self._looks.append((time.time_ns() // 1_000, markets))
        self._looked_s = now

    def _has_new_parts(self) -> bool:
        """Whether an insert has added parts since the last call."""
        parts = inserted_parts(path.name for path in self._folder.iterdir())
        found = {part for part in parts if part.startswith(self._prefix)}
        is_new = not found <= self._inserted
        self._inserted = found
        return is_new


def inserted_parts(names: Iterable[str]) -> frozenset[str]:
    """The parts of inserts among the names in a table's folder: `partition_first_last_level`, with one block each.

    Not among them are what a merge has made and what is still being written (`tmp_…`).
    """
    fields = (name.split("_") for name in names)
    return frozenset("_".join(part) for part in fields if len(part) == 4 and part[1] == part[2])
