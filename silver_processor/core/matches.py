"""Which trades of a batch are known already, match by match. A trade is one match, or the sum of several.

The matches of a market have consecutive ids. A trade of n matches with the id L stands for the ids L-n+1 … L. OKX's
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
_RANGES_NAMED = 8


@dataclass(frozen=True, slots=True)
class Matched:
    """The verdict on trades, by their place.

    `again`: all matches of the trade are known. `partly`: place → the known matches as text, where only some are known.
    """

    again: npt.NDArray[np.bool_]
    partly: dict[int, str]


def match(numbers: Words, counts: npt.NDArray[np.int64] | None, known: BitMap64, *, overlap: bool) -> Matched:
    """Compare trades with the matches that are known.

    `numbers`: the trades' ids. `counts`: matches of each trade; None: one each. `known`: ids of known matches.
    `overlap`: the trades may share matches. A trade of more matches then wins over one of fewer, so that no match is
    lost; of equally long trades the first wins. The caller handles single matches that share an id.
    """
    again = np.isin(numbers, np.asarray(known.to_array(), dtype=np.uint64)) if known else np.zeros(len(numbers), bool)
    if counts is None or not (known or overlap):
        return Matched(again, {})
    taken, partly = known.copy(), {}
    several = np.flatnonzero(counts > 1)
    for place in several[np.argsort(-counts[several], kind="stable")].tolist():
        last, count = int(numbers[place]), int(counts[place])
        own = _range(last, count)
        held = taken & own
        again[place] = len(held) == count
        if held and not again[place]:
            partly[place] = f"{_named(held)} of {last - count + 1}-{last}"
        if not held:
            taken |= own
    singles = counts == 1
    if taken:
        again[singles] = np.isin(numbers[singles], np.asarray((taken & BitMap64(numbers)).to_array(), dtype=np.uint64))
    return Matched(again, partly)


def _range(last: int, count: int) -> BitMap64:
    found = BitMap64([last])
    found.add_range(last - count + 1, last)
    return found


def _named(ids: BitMap64) -> str:
    """Ids as text, `5-7, 9`: the first `_RANGES_NAMED` ranges."""
    found: list[list[int]] = []
    for number in ids:
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        elif len(found) == _RANGES_NAMED:
            return ", ".join([*_texts(found), "…"])
        else:
            found.append([number, number])
    return ", ".join(_texts(found))


def _texts(ranges: list[list[int]]) -> list[str]:
    return [f"{first}-{last}" if first < last else f"{first}" for first, last in ranges]
