"""Kafka timestamps as every layer can carry them."""

from __future__ import annotations

# 2200-01-01 in ms since the epoch. ClickHouse's DateTime64, Arrow, Iceberg (µs), Python and pandas (ns) go further.
_END = 7_258_118_400_000


def bounded_ms(timestamp: int) -> int:
    """A Kafka timestamp in ms since the epoch (UTC), 1970-01-01 ≤ t < 2200-01-01, whatever a producer gave as one.

    A number beyond that is read as µs, then ns, then less; a negative one by its distance from -1, which is Kafka's
    "no timestamp". What fits stays as it is. The macro `bounded_ms` of `ddl/_macros.sql` does the same.
    """
    size = max(timestamp, ~timestamp)
    for unit in (1, 1_000, 1_000_000):
        if size < _END * unit:
            return size // unit
    return size // 1_000_000_000
