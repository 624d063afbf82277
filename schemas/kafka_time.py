"""Brings Kafka timestamps into the range that every layer can store."""

from __future__ import annotations

from config.valid_times import END_MS


def bounded_ms(timestamp: int) -> int:
    """A Kafka timestamp within 1970-01-01 ≤ t < 2200-01-01, in ms since the epoch (UTC), from any number.

    A number within the range stays as it is. A larger one is read as µs, then as ns, then as a smaller unit. A negative
    one counts by its distance from -1, Kafka's "no timestamp". `bounded_ms` in `ddl/_macros.sql` does the same.
    """
    size = max(timestamp, ~timestamp)
    for unit in (1, 1_000, 1_000_000):
        if size < END_MS * unit:
            return size // unit
    return size // 1_000_000_000
