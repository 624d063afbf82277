"""Finds missing trades of exchanges with consecutive trade ids: ids that no message brought. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from producers.exchanges.model import Exchange, Trade, id_number
from producers.gaps.gap import OPEN, Gap
from producers.gaps.id_ranges import IdRanges
from producers.timestamps import event_time_us, now_us


@dataclass(slots=True)
class _Sequence:
    # The first id, and the time of its trade in the exchange's text. Times are parsed only when there is a gap.
    first: int
    since: str
    # The highest id, and the time of its trade.
    highest: int
    moment: str


class ConsecutiveIds:
    """Finds gaps between consecutive ids."""

    def __init__(self, exchange: Exchange) -> None:
        """No trade is seen yet. The sequence of a symbol starts with its first trade."""
        assert exchange.ids_of is not None
        self._exchange = exchange
        self._ids_of = exchange.ids_of
        self._symbols: dict[str, _Sequence] = {}
        self._gaps: dict[str, list[Gap]] = {}

    def observe(self, trades: Sequence[Trade]) -> list[Gap]:
        """Record published trades. They fill known gaps. Returns the new gaps that they show."""
        if len(trades) == 1:
            return self._observe(trades[0])
        # A message may list its trades newest first.
        return [gap for trade in _ordered(trades) for gap in self._observe(trade)]

    def fill(self, trades: Sequence[Trade]) -> None:
        """Record published trades that show no new gap."""
        for trade in _ordered(trades):
            self._fill(trade, int(trade.trade_id))

    def position(self, symbol: str) -> int | None:
        """The highest id; None before the first trade. Changes whenever the stream brings a newer trade."""
        known = self._symbols.get(symbol)
        return known.highest if known is not None else None

    def broken_us(self, symbol: str) -> int | None:  # noqa: ARG002  # ids show every loss
        """Always None: ids show what is missing (see `producers.gaps.unordered_ids.UnorderedIds.broken_us`)."""
        return None

    def compare(self, symbol: str, newest: Sequence[Trade], *, is_quiet: bool) -> tuple[list[Trade], list[Gap]]:
        """Compare REST's newest trades of a quiet symbol with the highest id. An active symbol is not compared.

        Without an earlier trade the sequence starts after them.

        Returns:
            no trades, because filling the gap publishes them; and the gap, if there is one.
        """
        ordered = _ordered(newest) if is_quiet else []
        if not ordered:
            return [], []
        last, known = ordered[-1], self._symbols.get(symbol)
        number = int(last.trade_id)
        if known is None:
            self._symbols[symbol] = _Sequence(number + 1, last.timestamp, number, last.timestamp)
            return [], []
        if number <= known.highest:
            return [], []
        gap = self._opened(symbol, known.highest + 1, number, known.moment, last.timestamp)
        known.highest, known.moment = number, last.timestamp
        return [], [gap]

    def resume(self, symbol: str, published: Sequence[Trade], left_open: Sequence[Gap] = ()) -> list[Gap]:
        """Continue after earlier runs of the producer.

        Args:
            symbol: in the exchange's own spelling.
            published: the last trades that earlier runs published.
            left_open: the gaps that they left open. They are filled like others.

        Returns:
            the new gaps: among the published trades, and from these to the first trade of this run.
        """
        self._gaps.setdefault(symbol, []).extend(left_open)
        self.fill(published)
        earlier = ConsecutiveIds(self._exchange)
        found = [gap for gap in earlier.observe(published) if not any(gap.is_within(other) for other in left_open)]
        self._gaps[symbol].extend(found)
        end = earlier._symbols.get(symbol)
        if end is None:
            return found
        known = self._symbols.setdefault(symbol, end)
        if known.first > end.highest + 1:
            # The stream brought trades before the published ones were read.
            found.append(self._opened(symbol, end.highest + 1, known.first - 1, end.moment, known.since))
        known.first = end.first
        return found

    def _observe(self, trade: Trade) -> list[Gap]:
        number = id_number(trade.trade_id)
        if number is None:
            return []
        known = self._symbols.get(trade.symbol)
        if known is None:
            first = number - self._ids_of(trade) + 1
            self._symbols[trade.symbol] = _Sequence(first, trade.timestamp, number, trade.timestamp)
            self._fill(trade, number)
            return []
        if number <= known.highest:
            self._fill(trade, number)
            return []
        found: list[Gap] = []
        if number > known.highest + 1 and (first := number - self._ids_of(trade) + 1) > known.highest + 1:
            found.append(self._opened(trade.symbol, known.highest + 1, first - 1, known.moment, trade.timestamp))
        known.highest, known.moment = number, trade.timestamp
        return found

    def _opened(self, symbol: str, first: int, last: int, moment: str, until: str) -> Gap:
        ids = IdRanges(first, last)
        to_us = event_time_us(until) or 0
        from_us = event_time_us(moment) or to_us
        gap = Gap(symbol, str(first), str(last), from_us, to_us, ids.count, now_us(), ids)
        self._gaps.setdefault(symbol, []).append(gap)
        return gap

    def _fill(self, trade: Trade, number: int) -> None:
        gaps = self._gaps.get(trade.symbol)
        if not gaps:
            return
        for gap in gaps:
            assert gap.ids is not None
            filled = [gap.ids.discard(one) for one in range(number - self._ids_of(trade) + 1, number + 1)]
            if any(filled) and not gap.ids.count:
                gap.mark_healed()
        self._gaps[trade.symbol] = [gap for gap in gaps if gap.state == OPEN]


def _ordered(trades: Sequence[Trade]) -> list[Trade]:
    numbered = (trade for trade in trades if id_number(trade.trade_id) is not None)
    return sorted(numbered, key=lambda trade: int(trade.trade_id))
