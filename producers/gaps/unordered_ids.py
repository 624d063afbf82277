"""Finds missing trades by comparison with REST, for exchanges whose trade ids have no order. No I/O."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from producers.exchanges.model import Trade
from producers.gaps.gap import UNFILLABLE, Gap
from producers.timestamps import event_time_us, now_us

_REMEMBERED = 5_000


class UnorderedIds:
    """Finds gaps by comparing REST's newest trades with the stream's."""

    def __init__(self) -> None:
        """No trade is seen yet."""
        # Symbols whose stream is down.
        self._down: set[str] = set()
        # Symbols whose stream broke after the last call of `broken_us`.
        self._broken_since: set[str] = set()
        # The result of the last call of `broken_us`, by symbol.
        self._returned_us: dict[str, int | None] = {}
        # Times of the newest trades (µs, UTC) by trade id, by symbol.
        self._seen: dict[str, OrderedDict[str, int]] = {}
        # The time (µs, UTC) of the last trade before the stream broke, by symbol.
        self._broken_us: dict[str, int] = {}
        self._left_open: dict[str, list[Gap]] = {}

    def observe(self, trades: Sequence[Trade]) -> list[Gap]:
        """Record published trades. By themselves they show no gap."""
        for trade in trades:
            seen = self._seen.setdefault(trade.symbol, OrderedDict())
            seen[trade.trade_id] = event_time_us(trade.timestamp) or 0
            if len(seen) > _REMEMBERED:
                seen.popitem(last=False)
        return []

    def interrupted(self, symbol: str) -> None:
        """Record that the symbol's stream broke."""
        self._down.add(symbol)
        self._broken_since.add(symbol)
        if symbol in self._seen:
            self._broken_us.setdefault(symbol, max(self._seen[symbol].values()))

    def restored(self, symbols: Iterable[str]) -> None:
        """Record that the stream of these symbols is up."""
        self._down.difference_update(symbols)

    def broken_us(self, symbol: str) -> int | None:
        """The time back to which the next `compare` needs trades, µs (UTC).

        It is the time of the last trade before the stream broke, or before a gap that was left open. None if the
        newest trades are enough.
        """
        self._broken_since.discard(symbol)
        self._returned_us[symbol] = reach_us = self._reach_us(symbol)
        return reach_us

    def _reach_us(self, symbol: str) -> int | None:
        times = [gap.from_us for gap in self._left_open.get(symbol, [])]
        if symbol in self._broken_us:
            times.append(self._broken_us[symbol])
        return min(times, default=None)

    def position(self, symbol: str) -> int | None:
        """The time of the symbol's newest trade, µs (UTC); None before the first trade."""
        seen = self._seen.get(symbol)
        return max(seen.values()) if seen else None

    def compare(self, symbol: str, newest: Sequence[Trade], *, is_quiet: bool) -> tuple[list[Trade], list[Gap]]:
        """Compare REST's newest trades with those that the stream brought.

        On an active symbol, trades newer than the stream's newest may still be on their way, so they do not count. On
        a quiet symbol all trades count.

        Args:
            symbol: in the exchange's own spelling.
            newest: REST's newest trades, oldest first. The stream has had time to bring them.
            is_quiet: whether the stream has brought nothing since the last comparison.

        Returns:
            the trades that the stream did not bring, and the gaps that they show. A gap is UNFILLABLE if REST does not
            reach back to the time at which the stream broke.
        """
        if not newest:
            return [], []
        seen = self._seen.get(symbol)
        if not seen:
            # This is the first known trade. Nothing before it counts as missing.
            self.observe(newest[-1:])
            return [], []
        oldest_us = min(seen.values())
        latest_us = float("inf") if is_quiet else max(seen.values())
        times = [event_time_us(trade.timestamp) or 0 for trade in newest]
        gaps = []
        # If this time has changed since `broken_us` was called, these trades may not reach back far enough.
        reach_us = self._reach_us(symbol)
        reaches_back = self._returned_us.pop(symbol, reach_us) == reach_us
        broken_us = self._broken_us.pop(symbol, None) if reaches_back else None
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
        if symbol in self._down or symbol in self._broken_since:
            # The trades up to this one are known now. Later ones may still be missing.
            self._broken_us[symbol] = times[-1]
        for gap in self._left_open.pop(symbol, []) if reaches_back else []:
            covered = times[0] <= gap.from_us
            if covered:
                gap.mark_healed()
            else:
                gap.state = UNFILLABLE
        return [trade for trade, _ in lost], gaps

    def fill(self, trades: Sequence[Trade]) -> None:
        """Record published trades that show no gap."""
        self.observe(trades)

    def resume(self, symbol: str, published: Sequence[Trade], left_open: Sequence[Gap] = ()) -> list[Gap]:
        """Continue after earlier runs of the producer. The next comparison finds missing trades after theirs.

        Args:
            symbol: in the exchange's own spelling.
            published: the last trades that earlier runs published, oldest first.
            left_open: the gaps that they left open. The next comparison heals them, or makes them unfillable.

        Returns:
            no gaps: only a comparison finds them.
        """
        now = self._seen.pop(symbol, OrderedDict())
        self.observe(published)
        if symbol in self._seen:
            self._broken_us[symbol] = max(self._seen[symbol].values())
            self._seen[symbol].update(now)
        elif now:
            self._seen[symbol] = now
        if left_open:
            self._left_open[symbol] = [*left_open]
        return []
