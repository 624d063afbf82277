"""Which trades are missing: holes in consecutive ids, or what REST knows and the stream did not bring. No I/O."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from producers.exchanges.model import Exchange, Trade
from producers.schedule import event_time_us

OPEN, HEALED, UNFILLABLE = "open", "healed", "unfillable"
_REMEMBERED = 5_000


class Ids:
    """A set of numbers, kept as runs: a hole of a million takes as much memory as one of two."""

    def __init__(self, first: int, last: int) -> None:
        """All from `first` to `last`, both included."""
        self._runs = [(first, last)]
        self.count = last - first + 1

    def has(self, number: int) -> bool:
        """Whether a number is in."""
        at = self._at(number)
        return at >= 0 and number <= self._runs[at][1]

    def discard(self, number: int) -> bool:
        """Take a number out; False where it is not in."""
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
        """The smallest."""
        return self._runs[0][0]

    @property
    def last(self) -> int:
        """The largest."""
        return self._runs[-1][1]


@dataclass(slots=True, eq=False)
class Gap:
    """Trades of `symbol` that the stream did not bring.

    Between the trades at `from_us` and `to_us` (µs, UTC); ids are text, "" where they have no order. `missing` counts
    what is still not published of the `found`.
    """

    symbol: str
    from_id: str
    to_id: str
    from_us: int
    to_us: int
    found: int
    detected_us: int
    ids: Ids | None = None
    state: str = OPEN
    healed_us: int = 0
    tries: int = 0
    due_s: float = 0.0

    @property
    def missing(self) -> int:
        """Not published yet."""
        return self.ids.count if self.ids is not None else (self.found if self.state != HEALED else 0)


@dataclass(slots=True)
class _Sequence:
    highest: int
    #: Of the trade with it, in the exchange's text: read only where there is a gap.
    moment: str
    gaps: list[Gap] = field(default_factory=list)


class ConsecutiveIds:
    """Holes of an exchange whose ids are numbers without holes."""

    def __init__(self, exchange: Exchange) -> None:
        """No trade seen yet: the first one of each symbol is where the sequence starts."""
        assert exchange.ids_of is not None
        self._ids_of = exchange.ids_of
        self._symbols: dict[str, _Sequence] = {}

    def observe(self, trades: Sequence[Trade]) -> list[Gap]:
        """Trades that are published: the gaps they show, or none; they fill those that wait for them."""
        if len(trades) == 1:
            return self._observe(trades[0])
        # A message may list its trades newest first.
        ordered = sorted((trade for trade in trades if _is_number(trade.trade_id)), key=lambda t: int(t.trade_id))
        return [gap for trade in ordered for gap in self._observe(trade)]

    def _observe(self, trade: Trade) -> list[Gap]:
        text = trade.trade_id
        if not _is_number(text):
            return []
        number = int(text)
        known = self._symbols.get(trade.symbol)
        if known is None:
            self._symbols[trade.symbol] = _Sequence(number, trade.timestamp)
            return []
        if number <= known.highest:
            for gap in known.gaps:
                self._fill(gap, trade, number)
            if known.gaps:
                known.gaps = [gap for gap in known.gaps if gap.state == OPEN]
            return []
        found: list[Gap] = []
        if number > known.highest + 1 and (first := number - self._ids_of(trade) + 1) > known.highest + 1:
            ids = Ids(known.highest + 1, first - 1)
            to_us = event_time_us(trade.timestamp) or 0
            from_us = event_time_us(known.moment) or to_us
            gap = Gap(trade.symbol, str(ids.first), str(ids.last), from_us, to_us, ids.count, _now_us(), ids)
            known.gaps = [*(other for other in known.gaps if other.state == OPEN), gap]
            found.append(gap)
        known.highest, known.moment = number, trade.timestamp
        return found

    def _fill(self, gap: Gap, trade: Trade, number: int) -> None:
        assert gap.ids is not None
        if gap.ids.discard(number):
            for other in range(number - self._ids_of(trade) + 1, number):
                gap.ids.discard(other)
            if not gap.ids.count:
                gap.state, gap.healed_us = HEALED, _now_us()


class Overlap:
    """What REST's newest trades have and the stream did not bring, for ids that have no order."""

    def __init__(self) -> None:
        """No trade seen yet."""
        self._seen: dict[str, OrderedDict[str, int]] = {}
        self._broken: dict[str, int] = {}

    def observe(self, trades: Sequence[Trade]) -> list[Gap]:
        """Trades that are published. Shows no gap by itself."""
        for trade in trades:
            seen = self._seen.setdefault(trade.symbol, OrderedDict())
            seen[trade.trade_id] = event_time_us(trade.timestamp) or 0
            if len(seen) > _REMEMBERED:
                seen.popitem(last=False)
        return []

    def interrupted(self, symbol: str) -> None:
        """The stream broke after the trades seen so far."""
        if symbol in self._seen:
            self._broken.setdefault(symbol, max(self._seen[symbol].values()))

    def compare(self, symbol: str, newest: Sequence[Trade]) -> tuple[list[Trade], list[Gap]]:
        """REST's newest trades, oldest first: those that the stream did not bring, and the gaps they show.

        A gap is UNFILLABLE where REST does not reach back to the time at which the stream broke.
        """
        seen = self._seen.get(symbol)
        if not seen or not newest:
            return [], []
        oldest_us, newest_us = min(seen.values()), max(seen.values())
        times = [event_time_us(trade.timestamp) or 0 for trade in newest]
        gaps = []
        broken_us = self._broken.pop(symbol, None)
        if broken_us is not None and times[0] > broken_us:
            gaps.append(Gap(symbol, "", "", broken_us, times[0], 0, _now_us(), state=UNFILLABLE))
        lost = [
            (trade, time_us)
            for trade, time_us in zip(newest, times, strict=True)
            # What is younger than anything seen may still be on its way.
            if trade.trade_id not in seen and oldest_us <= time_us <= newest_us
        ]
        if lost:
            (first, first_us), (last, last_us) = lost[0], lost[-1]
            gaps.append(Gap(symbol, first.trade_id, last.trade_id, first_us, last_us, len(lost), _now_us()))
        return [trade for trade, _ in lost], gaps


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20


def _now_us() -> int:
    return time.time_ns() // 1_000
