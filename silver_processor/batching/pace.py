"""When an insert starts: few parts and low latency pull on each other, and this is where it is decided.

A merge of small batches costs latency, an insert costs a part in Silver and in each candle table, however few its rows.
At low rates parts win: inserts of fewer than `small_rows` rows start at most once in `gap_s` a worker, unless a
message would otherwise wait longer than `longest_wait_s`. From `small_rows` rows on latency wins: the insert starts at
once. So a worker makes at most 1 / gap_s + partitions / longest_wait_s + rows a second / small_rows inserts a second.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """`small_rows`: as many are no small insert. `gap_s`: least time between the starts of two inserts of which the
    second is small. `longest_wait_s`: the latency bound, from a message's arrival to the start of its insert."""

    small_rows: int
    gap_s: float
    longest_wait_s: float

    def due_in(self, rows: int, waited_s: float, since_last_s: float) -> float:
        """Seconds until an insert of the waiting `rows` starts, 0 if it starts now.

        `waited_s`: since the oldest waiting message arrived; `since_last_s`: since the worker's last insert started.
        """
        if rows >= self.small_rows:
            return 0.0
        return max(min(self.gap_s - since_last_s, self.longest_wait_s - waited_s), 0.0)
