"""An offload in a process of its own that stops at a named point, so that a test can kill it there.

usage: worker.py SETTINGS_JSON POINT MARKER
Points: `none`; a progress step and table (`exported:silver_trades`); `streaming:gold_ohlcv_1m` (half a file written);
`before-catalog:raw_trades` and `after-catalog:raw_trades` (just before and after the catalog takes the commit).
A worker with a point offloads the layer of its table only; if that is Gold, then Silver first, which Gold may wait for.
At its point it writes MARKER and waits to be killed.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyiceberg.table import Table

from config.settings import Settings
from offload.clickhouse.client import ClickHouseHttp, Parameters
from offload.clickhouse.tiers import Tiers
from offload.report import OffloadProgress
from offload.run import run
from offload.tables.cold_tables import BY_NAME, LAYERS


def _stop(marker: Path) -> None:
    marker.touch()
    threading.Event().wait()


class HalfFile(ClickHouseHttp):
    """Gives half of the first file of a table, then stops."""

    def __init__(self, settings: Settings, table: str, marker: Path) -> None:
        super().__init__(settings)
        self._table, self._marker = table, marker

    @contextmanager
    def parquet(self, sql: str, parameters: Parameters) -> Iterator[Iterator[bytes]]:
        with super().parquet(sql, parameters) as chunks:
            data = b"".join(chunks)
        is_wanted = f"FROM {BY_NAME[self._table].hot} " in sql

        def halves() -> Iterator[bytes]:
            yield data[: len(data) // 2]
            if is_wanted:
                _stop(self._marker)
            yield data[len(data) // 2 :]

        yield halves()


def _stop_at_catalog(when: str, table_name: str, marker: Path) -> None:
    original = Table._do_commit

    def patched(self: Table, *args: Any, **kwargs: Any) -> None:
        is_wanted = self.name()[-1] == table_name
        if is_wanted and when == "before-catalog":
            _stop(marker)
        original(self, *args, **kwargs)
        if is_wanted:
            _stop(marker)

    Table._do_commit = patched  # type: ignore[method-assign]


def main() -> None:
    settings, marker = Settings.model_validate_json(sys.argv[1]), Path(sys.argv[3])
    when, _, table = sys.argv[2].partition(":")
    hot = HalfFile(settings, table, marker) if when == "streaming" else None
    if when.endswith("-catalog"):
        _stop_at_catalog(when, table, marker)

    def watch(progress: OffloadProgress) -> None:
        if (progress.step, progress.table) == (when, table):
            _stop(marker)

    layer = BY_NAME[table].layer if table else None
    layers = LAYERS if layer is None else ("silver", "gold") if layer == "gold" else (layer,)
    run(Tiers.open(settings, hot), layers=layers, progress=watch)


if __name__ == "__main__":
    main()
