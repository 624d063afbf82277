"""The range of times that every layer can store: 1970-01-01 ≤ t < 2200-01-01 (UTC), in µs since the epoch."""

from __future__ import annotations

EARLIEST_US = 0
# Exclusive. ClickHouse's DateTime64, Arrow, Iceberg (µs), Python and pandas (ns) reach further.
END_US = 7_258_118_400_000_000
