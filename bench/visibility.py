"""Watches the candles as a reader does: when did which Silver insert count in them."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl

_VISIBLE = (Path(__file__).with_name("sql") / "visible.sql").read_text(encoding="utf-8")
# A look takes about 3 ms of CPU: more of them would slow down what they measure.
_PAUSE_S = 0.01


class Watcher:
    """Asks again and again over one connection while its `with` block runs.

    A look says when its answer was there, the newest insert visible in the candles, and the trades they count. An
    insert became visible at some moment between the look that first shows it and the one before: latencies taken from
    `looks` are too long by half the gap between two looks on average, never too short.
    """

    def __init__(self, client: Any, pause_s: float = _PAUSE_S) -> None:
        """`client`: of `bench.stack.native_client`, for this watcher alone."""
        self._client, self._pause_s = client, pause_s
        self._looks: list[tuple[int, int, int]] = []
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
    def trades(self) -> int:
        """Trades in the candles at the last look."""
        if self._failure is not None:
            raise self._failure
        return self._looks[-1][2] if self._looks else 0

    def looks(self) -> pl.DataFrame:
        """Columns `seen`, `newest` (µs since the epoch) and `trades`, by time."""
        schema = {"seen": pl.Int64, "newest": pl.Int64, "trades": pl.Int64}
        return pl.DataFrame(self._looks.copy(), schema=schema, orient="row")

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._pause_s):
                newest, trades = self._client.execute(_VISIBLE)[0]
                self._looks.append((time.time_ns() // 1_000, newest, trades))
        except BaseException as failure:  # noqa: BLE001 - handed to the thread that waits for us
            self._failure = failure
