"""Bounded sets of trade ids. At its limit a set forgets its oldest ids, and notes the latest trade time among them.

Numeric ids are kept in roaring bitmaps, in which consecutive ids take little memory. Other ids are kept as 128-bit
hashes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
from pyroaring import BitMap64

Words = npt.NDArray[np.uint64]
Times = npt.NDArray[np.int64]
# The high and the low half of each id's hash.
Hashes = tuple[Words, Words]
NO_HASHES: Hashes = (np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.uint64))

# A bitmap keeps the ids that share all but their lowest 16 bits in one container. Measured: a container takes this many
# bytes beside its content, so an id without any neighbour costs that much.
_CONTAINER_BYTES = 112
_RECOUNT_BYTES = 4_096
# A segment is sealed at this share of its limit. Closer to the limit its size would be recounted after every few ids.
_SEAL_SHARE = 0.9
# Two seeds make 128 bits: among 10^9 ids the chance of a false match is about 10^-21.
_SEEDS = (0x243F6A8885A308D3, 0x13198A2E03707344)
_SEGMENT_HASHES = 131_072
_HASH_BYTES = 16
# A set forgets whole segments. With small ones it stays close to its limit.
_SEGMENTS_A_SET = 8


class _BitmapSegment:
    """Numeric ids that were added one after the other, and the latest trade time among them (µs)."""

    def __init__(self) -> None:
        self.ids = BitMap64()
        self.latest = np.iinfo(np.int64).min
        self.size = 0
        self._counted = 0

    def add(self, ids: BitMap64, latest: int, limit_bytes: int) -> None:
        self.ids |= ids
        self.latest = max(self.latest, latest)
        self.size += len(ids) * (_CONTAINER_BYTES + 2)
        # The estimate is an upper bound. A recount walks every container, so it waits until the estimate may be far
        # off.
        if self.size >= min(limit_bytes, 2 * self._counted + _RECOUNT_BYTES):
            self.ids.run_optimize()
            statistics = self.ids.get_statistics()
            content = statistics["n_bytes_array_containers"] + statistics["n_bytes_run_containers"]
            content += statistics["n_bytes_bitset_containers"]
            self.size = self._counted = int(content + statistics["n_containers"] * _CONTAINER_BYTES)


class IdBitmaps:
    """The numeric ids (below 2^64) that were added last, as many as fit into about `limit_bytes`.

    `horizon`: the latest trade time (µs) among the forgotten ids, or None. `highest`: no id in the set is
    higher; -1 if the set is empty.
    """

    def __init__(self, limit_bytes: int, horizon: int | None = None) -> None:
        self._limit = limit_bytes
        self._segment_limit = max(limit_bytes // _SEGMENTS_A_SET, 1)
        self._segments: list[_BitmapSegment] = []
        self._count = 0
        self.horizon = horizon
        self.highest = -1

    def __len__(self) -> int:
        return self._count

    @property
    def memory_bytes(self) -> int:
        """Upper bound on the bytes taken."""
        return sum(segment.size for segment in self._segments)

    def add(self, ids: BitMap64, latest: int) -> None:
        """Add one id or more, and the latest of their trade times (µs)."""
        if not self._segments or self._segments[-1].size >= _SEAL_SHARE * self._segment_limit:
            self._segments.append(_BitmapSegment())
        self._segments[-1].add(ids, latest, self._segment_limit)
        self._count += len(ids)
        self.highest = max(self.highest, ids.max())
        while len(self._segments) > 1 and self.memory_bytes > self._limit:
            forgotten = self._segments.pop(0)
            self._count -= len(forgotten.ids)
            self.horizon = forgotten.latest if self.horizon is None else max(self.horizon, forgotten.latest)

    def common(self, ids: BitMap64) -> BitMap64:
        """The given ids that are in the set."""
        common = BitMap64()
        for segment in self._segments:
            common |= segment.ids & ids
        return common


def hash_ids(ids: pl.Series) -> Hashes:
    """The hash of each id. Two processes have different hashes of the same id."""
    high, low = (ids.hash(seed).to_numpy() for seed in _SEEDS)
    return high, low


class _HashSegment:
    """Hashes sorted by their high half, and the latest trade time among them (µs)."""

    def __init__(self, high: Words, low: Words, latest: int) -> None:
        order = np.argsort(high)
        self.high, self.low, self.latest = high[order], low[order], latest

    def merged(self, other: _HashSegment) -> _HashSegment:
        return _HashSegment(
            np.concatenate([self.high, other.high]),
            np.concatenate([self.low, other.low]),
            max(self.latest, other.latest),
        )

    def holds(self, high: Words, low: Words) -> npt.NDArray[np.bool_]:
        place = np.searchsorted(self.high, high)
        found = np.zeros(len(high), dtype=np.bool_)
        # Equal high halves lie side by side. The loop runs again only on a collision of 64 bits.
        while True:
            inside = place < len(self.high)
            at = np.where(inside, place, 0)
            same = inside & (self.high[at] == high)
            found |= same & (self.low[at] == low)
            if not (same & ~found).any():
                return found
            place = np.where(same & ~found, place + 1, len(self.high))


class IdHashes:
    """The hashes of the ids that were added last, at most about `limit` of them.

    `horizon`: the latest trade time (µs) among the forgotten ids, or None.
    """

    def __init__(self, limit: int, horizon: int | None = None) -> None:
        self._limit = limit
        self._segment_limit = min(_SEGMENT_HASHES, max(limit // _SEGMENTS_A_SET, 1))
        self._segments: list[_HashSegment] = []
        self.horizon = horizon

    def __len__(self) -> int:
        return sum(len(segment.high) for segment in self._segments)

    @property
    def memory_bytes(self) -> int:
        """The bytes that the hashes take."""
        return len(self) * _HASH_BYTES

    def add(self, ids: Hashes, times: Times) -> None:
        """Add the hashes of ids that are not in the set, with their trade times (µs)."""
        high, low = ids
        if len(high) == 0:
            return
        self._segments.append(_HashSegment(high, low, int(times.max())))
        while len(self._segments) > 1:
            older, newer = self._segments[-2:]
            if len(older.high) > 2 * len(newer.high) or len(older.high) + len(newer.high) > self._segment_limit:
                break
            self._segments[-2:] = [older.merged(newer)]
        while len(self._segments) > 1 and len(self) > self._limit:
            forgotten = self._segments.pop(0)
            self.horizon = forgotten.latest if self.horizon is None else max(self.horizon, forgotten.latest)

    def holds(self, ids: Hashes) -> npt.NDArray[np.bool_]:
        """Whether the set has each id."""
        high, low = ids
        found = np.zeros(len(high), dtype=np.bool_)
        for segment in self._segments:
            found |= segment.holds(high, low)
        return found
