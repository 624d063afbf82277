"""A bounded set of numbers below 2^64, with the time below which it has forgotten."""

from __future__ import annotations

import numpy as np
from pyroaring import BitMap64

# Measured: what a container (ids that share all but their lowest 16 bits) takes beside its content. Ids without any
# neighbours cost this each, consecutive ones next to nothing.
_BYTES_A_CONTAINER = 112
_COUNTED_AGAIN = 4_096
# Sealed this close to the segment's share: near it the size would be counted again after every few ids.
_SEALED_AT = 0.9


class _Segment:
    """Numbers met one after the other, and the latest trade time among them (µs)."""

    def __init__(self) -> None:
        self.numbers = BitMap64()
        self.latest = np.iinfo(np.int64).min
        self.size = 0
        self._counted = 0

    def add(self, numbers: BitMap64, latest: int, share: int) -> None:
        self.numbers |= numbers
        self.latest = max(self.latest, latest)
        self.size += len(numbers) * (_BYTES_A_CONTAINER + 2)
        # Counting walks every container, so it waits until the estimate may be far off.
        if self.size >= min(share, 2 * self._counted + _COUNTED_AGAIN):
            self.numbers.run_optimize()
            found = self.numbers.get_statistics()
            content = found["n_bytes_array_containers"] + found["n_bytes_run_containers"]
            content += found["n_bytes_bitset_containers"]
            self.size = self._counted = int(content + found["n_containers"] * _BYTES_A_CONTAINER)


class NumberSet:
    """Remembers the numbers added last, in at most about `limit_bytes`; consecutive ones cost next to nothing.

    `horizon` is the latest trade time (µs) among those it forgot; no number is higher than `highest`.
    """

    def __init__(self, limit_bytes: int, horizon: int | None = None) -> None:
        self._limit = limit_bytes
        # Whole segments are forgotten: small ones keep close to the limit.
        self._share = max(limit_bytes // 8, 1)
        self._segments: list[_Segment] = []
        self._count = 0
        self.horizon = horizon
        self.highest = -1

    def __len__(self) -> int:
        return self._count

    @property
    def memory_bytes(self) -> int:
        """Bytes taken, an upper bound."""
        return sum(segment.size for segment in self._segments)

    def add(self, numbers: BitMap64, latest: int) -> None:
        """Add numbers, one at least, with the latest of their trade times (µs)."""
        if not self._segments or self._segments[-1].size >= _SEALED_AT * self._share:
            self._segments.append(_Segment())
        self._segments[-1].add(numbers, latest, self._share)
        self._count += len(numbers)
        self.highest = max(self.highest, numbers.max())
        while len(self._segments) > 1 and self.memory_bytes > self._limit:
            gone = self._segments.pop(0)
            self._count -= len(gone.numbers)
            self.horizon = gone.latest if self.horizon is None else max(self.horizon, gone.latest)

    def common(self, asked: BitMap64) -> BitMap64:
        """Those of the numbers asked that are in the set."""
        found = BitMap64()
        for segment in self._segments:
            found |= segment.numbers & asked
        return found
