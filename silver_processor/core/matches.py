"""Finds the trades of a batch that are known already, match by match. A trade is one match, or a sum of several.

The matches of a market have consecutive ids. A trade of n matches with the id L has the match ids L-n+1 … L. OKX's
channel `trades` sends such summed trades; its REST interface and `trades-all` send the single matches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

Words = npt.NDArray[np.uint64]
# A summed trade and its single matches have times at most this far apart (µs).
SAME_TIME_US = 1_000_000
# A dead letter names so many ranges of known ids.
_RANGES_NAMED = 8


@dataclass(frozen=True, slots=True)
class Matched:
    """The verdict on trades, by their place in the batch.

    `is_duplicate`: whether all matches of the trade are known. `partly_known`: for each place where only some are
    known, these matches as text (`5-6 of 5-7`).
    """

    is_duplicate: npt.NDArray[np.bool_]
    partly_known: dict[int, str]


def match(ids: Words, counts: npt.NDArray[np.int64] | None, known: BitMap64, *, overlap: bool) -> Matched:
    """Compare trades with the known matches.

    `ids`: the trades' ids. `counts`: matches of each trade; None: one each. `known`: ids of known matches.
    `overlap`: whether trades of the batch may share matches. A trade of more matches then wins over one of fewer, so
    that no match is lost; of equally long trades the first wins. The caller handles single matches that share an id.
    """
    is_duplicate = np.zeros(len(ids), bool)
    if known:
        is_duplicate = np.isin(ids, np.asarray(known.to_array(), dtype=np.uint64))
    if counts is None or not (known or overlap):
        return Matched(is_duplicate, {})
    taken, partly_known = known.copy(), {}
    several = np.flatnonzero(counts > 1)
    for place in several[np.argsort(-counts[several], kind="stable")].tolist():
        last, count = int(ids[place]), int(counts[place])
        matches = _range(last, count)
        known_matches = taken & matches
        is_duplicate[place] = len(known_matches) == count
        if known_matches and not is_duplicate[place]:
            partly_known[place] = f"{_as_text(known_matches)} of {last - count + 1}-{last}"
        if not known_matches:
            taken |= matches
    singles = counts == 1
    if taken:
        known_singles = np.asarray((taken & BitMap64(ids)).to_array(), dtype=np.uint64)
        is_duplicate[singles] = np.isin(ids[singles], known_singles)
    return Matched(is_duplicate, partly_known)


def _range(last: int, count: int) -> BitMap64:
    ids = BitMap64([last])
    # A range that includes the last id could end at 2^64, which BitMap64 refuses.
    ids.add_range(last - count + 1, last)
    return ids


def _as_text(ids: BitMap64) -> str:
    """Ids as ranges, `5-7, 9`; at most `_RANGES_NAMED` ranges."""
    ranges: list[list[int]] = []
    for number in ids:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        elif len(ranges) == _RANGES_NAMED:
            return ", ".join([*_texts(ranges), "…"])
        else:
            ranges.append([number, number])
    return ", ".join(_texts(ranges))


def _texts(ranges: list[list[int]]) -> list[str]:
    return [f"{first}-{last}" if first < last else f"{first}" for first, last in ranges]
