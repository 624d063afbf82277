"""The range of times that every layer can store: 1970-01-01 ≤ t < 2200-01-01 (UTC). SQL has it as `end_us`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
# Exclusive. ClickHouse's DateTime64, Arrow, Iceberg (µs), Python and pandas (ns) reach further.
END = datetime(2200, 1, 1, tzinfo=UTC)
# µs since the epoch.
EARLIEST_US = 0
END_US = (END - EARLIEST) // timedelta(microseconds=1)
# ms since the epoch.
END_MS = END_US // 1_000
