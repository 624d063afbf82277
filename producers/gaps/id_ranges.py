"""Sets of trade ids, kept as ranges, so that a million consecutive ids take no more memory than two. No I/O."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(slots=True)
class TimedRange:
    """All ids from `first` to `last`, with the times of these two trades (µs, UTC)."""

    first: int
    last: int
    first_us: int
    last_us: int


class TimedRanges:
    """A set of mostly consecutive numbers, added in any order."""

    def __init__(self) -> None:
        """An empty set."""
        self._runs: list[TimedRange] = []

    def __len__(self) -> int:
        """The number of ranges."""
        return len(self._runs)

    def __iter__(self) -> Iterator[TimedRange]:
        """The ranges in ascending order."""
        return iter(self._runs)

    def add(self, number: int, time_us: int) -> bool:
        """Add a number. False if the set has it already."""
        runs = self._runs
        if runs and number == runs[-1].last + 1:
            runs[-1].last, runs[-1].last_us = number, time_us
            return True
        at = bisect_right(runs, number, key=lambda run: run.first) - 1
        if at >= 0 and number <= runs[at].last:
            return False
        runs.insert(at + 1, TimedRange(number, number, time_us, time_us))
        self._join(at + 1)
        self._join(at)
        return True

    def _join(self, at: int) -> None:
        """Join a range with the next one, if they touch."""
        if 0 <= at < len(self._runs) - 1 and self._runs[at].last + 1 == self._runs[at + 1].first:
            after = self._runs.pop(at + 1)
            self._runs[at].last, self._runs[at].last_us = after.last, after.last_us


def without(wanted: Sequence[tuple[int, int]], taken: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The parts of the `wanted` ranges that are in no `taken` range. Each list is ordered, without overlaps."""
    rest = []
    for first, last in wanted:
        start = first
        for taken_first, taken_last in taken[max(bisect_right(taken, first, key=lambda run: run[0]) - 1, 0) :]:
            if taken_first > last:
                break
            if taken_first > start:
                rest.append((start, taken_first - 1))
            start = max(start, taken_last + 1)
        if start <= last:
            rest.append((start, last))
    return rest


class IdRanges:
    """A set of trade ids, kept as ranges."""

    def __init__(self, first: int, last: int) -> None:
        """All ids from `first` to `last`, both included."""
        self._runs = [(first, last)]
        self.count = last - first + 1

    @classmethod
    def of(cls, runs: Sequence[tuple[int, int]]) -> Self:
        """The set of these ranges (first and last id), which are ordered and do not overlap. There must be one."""
        ids = cls(*runs[0])
        ids._runs = [*runs]
        ids.count = sum(last - first + 1 for first, last in runs)
        return ids

    @property
    def runs(self) -> list[tuple[int, int]]:
        """First and last id of each range, in ascending order."""
        return [*self._runs]

    def has(self, number: int) -> bool:
        """Whether the set has a number."""
        at = self._at(number)
        return at >= 0 and number <= self._runs[at][1]

    def discard(self, number: int) -> bool:
        """Remove a number. False if the set does not have it."""
        if not self.has(number):
            return False
        at = self._at(number)
        first, last = self._runs[at]
        self._runs[at : at + 1] = [run for run in ((first, number - 1), (number + 1, last)) if run[0] <= run[1]]
        self.count -= 1
        return True

    def _at(self, number: int) -> int:
        return bisect_right(self._runs, (number, float("inf"))) - 1

    @property
    def first(self) -> int:
        """The smallest id."""
        return self._runs[0][0]

    @property
    def last(self) -> int:
        """The largest id."""
        return self._runs[-1][1]
