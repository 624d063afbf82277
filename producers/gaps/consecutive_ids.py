"""Finds missing trades by their ids, for exchanges whose trade ids are consecutive. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from producers.exchanges.model import Exchange, Trade, id_number
from producers.gaps.gap import OPEN, Gap
from producers.gaps.id_ranges import IdRanges
from producers.timestamps import event_time_us, now_us


@dataclass(slots=True)
class _Sequence:
    """The ids of one symbol. Times are the exchange's texts; they are parsed only when there is a gap."""

    # The first id, and the time of its trade.
    first: int
    first_time: str
    # The highest id, and the time of its trade.
    highest: int
    highest_time: str


class ConsecutiveIds:
    """Finds gaps between consecutive ids."""

    def __init__(self, exchange: Exchange) -> None:
        """No trade is seen yet. The ids of a symbol begin with those of its first trade."""
        assert exchange.ids_of is not None
        self._exchange = exchange
        self._ids_of = exchange.ids_of
        self._symbols: dict[str, _Sequence] = {}
        self._gaps: dict[str, list[Gap]] = {}

    def observe(self, trades: Sequence[Trade]) -> list[Gap]:
        """Record published trades, which also fill known gaps. Returns the new gaps that they show."""
        if len(trades) == 1:
            return self._observe(trades[0])
        # A message may list its trades newest first.
        return [gap for trade in _ordered(trades) for gap in self._observe(trade)]

    def fill(self, trades: Sequence[Trade]) -> None:
        """Record published trades that fill gaps and show no new one."""
        for trade in _ordered(trades):
            self._fill(trade, int(trade.trade_id))

    def position(self, symbol: str) -> int | None:
        """The symbol's highest id; None before the first trade. It changes with every newer trade of the stream."""
        known = self._symbols.get(symbol)
        return known.highest if known is not None else None

    def broken_us(self, symbol: str) -> int | None:  # noqa: ARG002  # ids show every loss
        """None: ids show every missing trade (see `producers.gaps.unordered_ids.UnorderedIds.broken_us`)."""
        return None

    def compare(self, symbol: str, newest: Sequence[Trade], *, is_quiet: bool) -> tuple[list[Trade], list[Gap]]:
        """Compare REST's newest trades of a quiet symbol with the highest id. An active symbol is not compared.

        If the symbol has no trade yet, its ids begin after REST's newest one.

        Returns:
            no trades, because healing the gap publishes them; and the gap, if there is one.
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
        gap = self._opened(symbol, known.highest + 1, number, known.highest_time, last.timestamp)
        known.highest, known.highest_time = number, last.timestamp
        return [], [gap]

    def resume(self, symbol: str, published: Sequence[Trade], left_open: Sequence[Gap] = ()) -> list[Gap]:
        """Continue after earlier runs of the producer.

        Args:
            symbol: in the exchange's own spelling.
            published: the last trades that earlier runs published.
            left_open: the gaps that they left open. They are filled like others.

        Returns:
            the new gaps: those among the published trades, and the one before the first trade of this run.
        """
        self._gaps.setdefault(symbol, []).extend(left_open)
        self.fill(published)
        earlier = ConsecutiveIds(self._exchange)
        gaps = [gap for gap in earlier.observe(published) if not any(gap.is_within(other) for other in left_open)]
        self._gaps[symbol].extend(gaps)
        end = earlier._symbols.get(symbol)
        if end is None:
            return gaps
        known = self._symbols.setdefault(symbol, end)
        if known.first > end.highest + 1:
            # The stream has brought trades while the published ones were read.
            gaps.append(self._opened(symbol, end.highest + 1, known.first - 1, end.highest_time, known.first_time))
        known.first = end.first
        return gaps

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
        gaps: list[Gap] = []
        if number > known.highest + 1 and (first := number - self._ids_of(trade) + 1) > known.highest + 1:
            gaps.append(self._opened(trade.symbol, known.highest + 1, first - 1, known.highest_time, trade.timestamp))
        known.highest, known.highest_time = number, trade.timestamp
        return gaps

    def _opened(self, symbol: str, first: int, last: int, from_time: str, to_time: str) -> Gap:
        ids = IdRanges(first, last)
        to_us = event_time_us(to_time) or 0
        from_us = event_time_us(from_time) or to_us
        gap = Gap(symbol, str(first), str(last), from_us, to_us, ids.count, now_us(), ids)
        self._gaps.setdefault(symbol, []).append(gap)
        return gap

    def _fill(self, trade: Trade, number: int) -> None:
        gaps = self._gaps.get(trade.symbol)
        if not gaps:
            return
        for gap in gaps:
            assert gap.ids is not None
            filled = [gap.ids.discard(match) for match in range(number - self._ids_of(trade) + 1, number + 1)]
            if any(filled) and not gap.ids.count:
                gap.mark_healed()
        self._gaps[trade.symbol] = [gap for gap in gaps if gap.state == OPEN]


def _ordered(trades: Sequence[Trade]) -> list[Trade]:
    numbered = (trade for trade in trades if id_number(trade.trade_id) is not None)
    return sorted(numbered, key=lambda trade: int(trade.trade_id))
