"""The times that only Iceberg has, so that a query reads the right table or view.

The views of hot and cold rows have every time, but read Iceberg's metadata for each query. The hot tables are faster,
and have everything newer than the partitions that have left them.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from serving.market_data.hot_reader import HotReader

_REMEMBERED_S = 1.0
_DAY = 86_400


class HotStart:
    """The time at which hot rows begin, by cold table."""

    def __init__(self, reader: HotReader) -> None:
        self._reader = reader
        self._begins: dict[str, int] = {}
        self._read_at = -_REMEMBERED_S

    async def hot_since(self, table: str) -> int:
        """The time (s since the epoch) from which on the hot table has every row; 0: no partition has left it.

        Args:
            table: the name in Iceberg: `silver_trades`, `gold_ohlcv_1m`.

        Raises:
            ApiError: ClickHouse does not answer.
        """
        now = time.monotonic()
        if now - self._read_at >= _REMEMBERED_S:
            rows = await self._reader.rows("left", {})
            self._begins = {row["table_name"]: period_end(row["newest"]) for row in rows}
            self._read_at = now
        return self._begins.get(table, 0)


def period_end(partition: int) -> int:
    """The end (s since the epoch, exclusive) of a day `20261128` or a month `202611`."""
    if partition > 999_999:
        day = datetime(partition // 10_000, partition // 100 % 100, partition % 100, tzinfo=UTC)
        return int(day.timestamp()) + _DAY
    year, month = divmod(partition, 100)
    return int(datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp())
