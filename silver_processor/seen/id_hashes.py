"""A bounded set of 128-bit digests of text ids, with the time below which it has forgotten."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

Words = npt.NDArray[np.uint64]
Times = npt.NDArray[np.int64]
# Both halves of the digest of each id.
Digests = tuple[Words, Words]

# Two seeds make 128 bits: among 10^9 ids a false match has a chance of about 10^-21.
_SEEDS = (0x243F6A8885A308D3, 0x13198A2E03707344)
_SEGMENT = 131_072
_BYTES_AN_ID = 16
NO_DIGESTS: Digests = (np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.uint64))


def digest(ids: pl.Series) -> Digests:
    """The digest of each id; comparable within this process only."""
    high, low = (ids.hash(seed).to_numpy() for seed in _SEEDS)
    return high, low


class _Segment:
    """Digests sorted by their high half, and the latest trade time among them (µs)."""

    def __init__(self, high: Words, low: Words, latest: int) -> None:
        order = np.argsort(high)
        self.high, self.low, self.latest = high[order], low[order], latest

    def merged(self, other: _Segment) -> _Segment:
        return _Segment(
            np.concatenate([self.high, other.high]),
            np.concatenate([self.low, other.low]),
            max(self.latest, other.latest),
        )

    def holds(self, high: Words, low: Words) -> npt.NDArray[np.bool_]:
        place = np.searchsorted(self.high, high)
        found = np.zeros(len(high), dtype=np.bool_)
        # Equal high halves lie side by side; more than one step means a 64-bit collision.
        while True:
            inside = place < len(self.high)
            at = np.where(inside, place, 0)
            same = inside & (self.high[at] == high)
            found |= same & (self.low[at] == low)
            if not (same & ~found).any():
                return found
            place = np.where(same & ~found, place + 1, len(self.high))


class DigestSet:
    """Remembers the last `limit` ids added; `horizon` is the latest trade time (µs) among those it forgot."""

    def __init__(self, limit: int, horizon: int | None = None) -> None:
        self._limit = limit
        # Whole segments are forgotten: small ones keep close to the limit.
        self._segment = min(_SEGMENT, max(limit // 8, 1))
        self._segments: list[_Segment] = []
        self.horizon = horizon

    def __len__(self) -> int:
        return sum(len(segment.high) for segment in self._segments)

    @property
    def memory_bytes(self) -> int:
        """Bytes of the digests held."""
        return len(self) * _BYTES_AN_ID

    def add(self, ids: Digests, times: Times) -> None:
        """Add the digests of ids that are not in the set, with their trade times (µs)."""
        high, low = ids
        if len(high) == 0:
            return
        self._segments.append(_Segment(high, low, int(times.max())))
        while len(self._segments) > 1:
            older, newer = self._segments[-2:]
            if len(older.high) > 2 * len(newer.high) or len(older.high) + len(newer.high) > self._segment:
                break
            self._segments[-2:] = [older.merged(newer)]
        while len(self._segments) > 1 and len(self) > self._limit:
            gone = self._segments.pop(0)
            self.horizon = gone.latest if self.horizon is None else max(self.horizon, gone.latest)

    def holds(self, ids: Digests) -> npt.NDArray[np.bool_]:
        """Which ids are in the set, by their digests."""
        high, low = ids
        found = np.zeros(len(high), dtype=np.bool_)
        for segment in self._segments:
            found |= segment.holds(high, low)
        return found
