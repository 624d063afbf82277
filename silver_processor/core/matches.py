"""Which matches are new: a trade may be one match, or sum up several under the id of the last one (pure).

Matches of a market have consecutive ids, so a trade of n matches with the id L stands for the ids L-n+1 … L. OKX's
channel `trades` sends such trades, its REST and `trades-all` the single matches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

Words = npt.NDArray[np.uint64]
_RANGES_NAMED = 8


@dataclass(frozen=True, slots=True)
class Matched:
    """Of trades by place: `again` (all their matches are known), `partly` (some are; place → those, as text)."""

    again: npt.NDArray[np.bool_]
    partly: dict[int, str]


def match(numbers: Words, counts: npt.NDArray[np.int64] | None, known: BitMap64, *, overlap: bool) -> Matched:
    """What is known of trades with the ids `numbers`, of `counts` matches each (None: one).

    `known`: ids of matches. `overlap`: trades given here may have matches in common. Then those of more matches come
    first, so that nothing is lost that a longer trade has; of equally long ones the first. Single matches with one id
    are left to the caller.
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
    """`5-7, 9`; what is more than a few ranges is cut."""
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
