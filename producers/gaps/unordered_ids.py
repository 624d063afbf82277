"""Finds missing trades where trade ids have no order: REST lists what the stream did not bring. No I/O."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from producers.exchanges.model import Trade
from producers.gaps.gap import UNFILLABLE, Gap
from producers.timestamps import event_time_us, now_us

_REMEMBERED = 5_000


class UnorderedIds:
    """Finds the gaps of an exchange whose ids have no order, by comparing REST's newest trades with the stream's."""

    def __init__(self) -> None:
        """No trade seen yet."""
        self._down: set[str] = set()
        #: Broken since `broken_us` was asked, and what that answered.
        self._again: set[str] = set()
        self._asked: dict[str, int | None] = {}
        self._seen: dict[str, OrderedDict[str, int]] = {}
        self._broken: dict[str, int] = {}
        self._left_open: dict[str, list[Gap]] = {}

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
        self._down.add(symbol)
        self._again.add(symbol)
        if symbol in self._seen:
            self._broken.setdefault(symbol, max(self._seen[symbol].values()))

    def restored(self, symbols: Iterable[str]) -> None:
        """The stream of these symbols is up."""
        self._down.difference_update(symbols)

    def broken_us(self, symbol: str) -> int | None:
        """The time (µs, UTC) of the last trade before the stream broke, or before a gap that was left open.

        The trades of the next `compare` should reach back to it. None: the last ones did.
        """
        self._again.discard(symbol)
        self._asked[symbol] = reach = self._reach(symbol)
        return reach

    def _reach(self, symbol: str) -> int | None:
        times = [gap.from_us for gap in self._left_open.get(symbol, [])]
        return min([*times, *([self._broken[symbol]] if symbol in self._broken else [])], default=None)

    def position(self, symbol: str) -> int | None:
        """The time of the newest trade, µs; None: no trade yet. It changes whenever the stream brings a newer trade."""
        seen = self._seen.get(symbol)
        return max(seen.values()) if seen else None

    def compare(self, symbol: str, newest: Sequence[Trade], *, is_quiet: bool) -> tuple[list[Trade], list[Gap]]:
        """The exchange's newest trades, oldest first, which the stream has had time to bring.

        While it brings trades, what is younger than those may still be on its way; of a quiet symbol nothing is.
        Returns those that it did not bring, and the gaps they show. A gap is UNFILLABLE where REST does not reach back
        to the time at which the stream broke.
        """
        if not newest:
            return [], []
        seen = self._seen.get(symbol)
        if not seen:
            # Where the sequence starts.
            self.observe(newest[-1:])
            return [], []
        oldest_us = min(seen.values())
        latest_us = float("inf") if is_quiet else max(seen.values())
        times = [event_time_us(trade.timestamp) or 0 for trade in newest]
        gaps = []
        # Who asked before it was known how far to reach back asks once more.
        reach = self._reach(symbol)
        is_known = self._asked.pop(symbol, reach) == reach
        broken_us = self._broken.pop(symbol, None) if is_known else None
        if broken_us is not None and times[0] > broken_us:
            gaps.append(Gap(symbol, "", "", broken_us, times[0], 0, now_us(), state=UNFILLABLE))
        lost = [
            (trade, time_us)
            for trade, time_us in zip(newest, times, strict=True)
            if trade.trade_id not in seen and oldest_us <= time_us <= latest_us
        ]
        if lost:
            (first, first_us), (last, last_us) = lost[0], lost[-1]
            gaps.append(Gap(symbol, first.trade_id, last.trade_id, first_us, last_us, len(lost), now_us()))
        if symbol in self._down or symbol in self._again:
            # All up to here is known then; what comes after is seen by nobody yet.
            self._broken[symbol] = times[-1]
        for gap in self._left_open.pop(symbol, []) if is_known else []:
            covered = times[0] <= gap.from_us
            if covered:
                gap.mark_healed()
            else:
                gap.state = UNFILLABLE
        return [trade for trade, _ in lost], gaps

    def fill(self, trades: Sequence[Trade]) -> None:
        """Trades that are published, and show no gap."""
        self.observe(trades)

    def resume(self, symbol: str, published: Sequence[Trade], left_open: Sequence[Gap] = ()) -> list[Gap]:
        """What earlier runs of the producer published last, oldest first: what came after it is compared.

        The gaps they left open are over with the next comparison. Shows no gap by itself.
        """
        now = self._seen.pop(symbol, OrderedDict())
        self.observe(published)
        if symbol in self._seen:
            self._broken[symbol] = max(self._seen[symbol].values())
            self._seen[symbol].update(now)
        elif now:
            self._seen[symbol] = now
        if left_open:
            self._left_open[symbol] = [*left_open]
        return []
