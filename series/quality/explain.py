"""Finds the trades that explain exactly why a candle differs from the venue's bar. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Context, Decimal, localcontext
from itertools import pairwise

from series.quality.causes import EXACT, Cause, Evidence, EvidenceTrade, Explanation, Window

_SHOWN = Context(prec=12)
# At most so many trades are named in a text.
_NAMED = 5
# With more missing ids than this in a window, none is named.
_MOST_HOLES = 1_000


def explain(windows: Sequence[Window], evidence: Evidence) -> list[Explanation]:
    """An explanation of each window, in the same order (by time)."""
    # The default context would round to 28 digits.
    with localcontext(EXACT):
        market = _Market(windows, evidence)
        return [_explain(window, market) for window in windows]


class _Market:
    """The evidence of one market, by window."""

    def __init__(self, windows: Sequence[Window], evidence: Evidence) -> None:
        self.evidence = evidence
        self.trades: dict[datetime, list[EvidenceTrade]] = {window.start: [] for window in windows}
        for trade in evidence.trades:
            start = _start_of(trade.time, evidence.length)
            if start in self.trades:
                self.trades[start].append(trade)
        self.by_delta: dict[tuple[Decimal | None, ...], list[Window]] = {}
        for window in windows:
            self.by_delta.setdefault(_deltas(window), []).append(window)
        self.crossed: dict[datetime, Explanation] = {}
        for run in _runs_of(windows, evidence.length):
            self.crossed |= _crossing(run, self.trades, evidence.length)

    def opposite(self, window: Window) -> list[Window]:
        """The other windows that lack exactly what this window has too much, or the other way round."""
        wanted = tuple(None if delta is None else -delta for delta in _deltas(window))
        return [other for other in self.by_delta.get(wanted, []) if other is not window]


def _explain(window: Window, market: _Market) -> Explanation:
    trades = market.trades[window.start]
    count, volume = window.delta("trade_count"), window.delta("volume")
    if volume == 0 and not count:
        return _same_volume(window, trades, market.evidence)
    # Some venues round quote volumes. Trades that explain the last digit, too, are looked for first.
    unit = Decimal(1).scaleb(-market.evidence.decimals.get("quote_volume", 18))
    for slack in (Decimal(0), max(len(trades), 1) * unit):
        for find in (_doubled, _moved, _off_book):
            if (explained := find(window, market, slack)) is not None:
                return explained
    if (explained := market.crossed.get(window.start)) is not None:
        return explained
    if _is_rounding(window, market.evidence):
        return _rounding(window)
    if volume is not None and volume > 0:
        return _surplus(window, trades, len(trades) * unit)
    return _missing(window, market.evidence)


def _same_volume(window: Window, trades: Sequence[EvidenceTrade], evidence: Evidence) -> Explanation:
    """The explanation of a window whose trade count and volume are equal on both sides."""
    side = window.delta("buy_volume")
    if side and set(window.differing) == {"buy_volume"}:
        found = [one for one in trades if one.is_counted and one.is_buy is (side > 0) and one.quantity == abs(side)]
        wrong, right = ("BUY", "SELL") if side > 0 else ("SELL", "BUY")
        where = _where(found) or f"{abs(side):f} in several trades"
        return Explanation(Cause.WRONG_SIDE, f"{wrong} here, {right} at the venue: {where}", _ids(found))
    if set(window.differing) <= {"open", "close"}:
        return Explanation(Cause.ORDER, f"same trades, other {' and '.join(window.differing)}")
    if _is_rounding(window, evidence):
        return _rounding(window)
    return _unexplained(window)


def _doubled(window: Window, market: _Market, slack: Decimal) -> Explanation | None:
    same: dict[tuple[object, ...], list[EvidenceTrade]] = {}
    for trade in market.trades[window.start]:
        same.setdefault((trade.time, trade.price, trade.quantity, trade.is_buy), []).append(trade)
    again = [(group, trade) for group in same.values() for trade in group[1:]]
    if again and _explains(window, [trade for _, trade in again], 1, slack):
        return _same_as(again, " and ")
    # Some trades of a venue are alike in everything but their ids. Each group that alone explains the window is named.
    alike = [(group, trade) for group, trade in again if _explains(window, [trade], 1, slack)]
    return _same_as(alike, " or ") if alike else None


def _same_as(again: Sequence[tuple[Sequence[EvidenceTrade], EvidenceTrade]], between: str) -> Explanation:
    groups = list({id(group): group for group, _ in again}.values())
    said = between.join(
        f"{_where(group[:1])} is there {len(group)} times, as {_few(_ids(group))}" for group in groups[:_NAMED]
    )
    return Explanation(Cause.DOUBLED_TRADE, said, _ids([trade for group in groups for trade in group]))


def _moved(window: Window, market: _Market, slack: Decimal) -> Explanation | None:
    """A trade of this window that the venue has in another window that differs, or the other way round."""
    for other in market.opposite(window):
        for sign, source in ((1, window), (-1, other)):
            trades = [one for one in market.trades[source.start] if _explains(window, [one], sign, slack)]
            if trades:
                verb = "belongs into" if sign > 0 else "is in"
                said = f"{_where(trades[:1])} {verb} {other.start:%Y-%m-%d %H:%M}"
                return Explanation(Cause.SHIFTED_CLOCK, said, _ids(trades[:1]))
    return None


def _off_book(window: Window, market: _Market, slack: Decimal) -> Explanation | None:
    trades = market.trades[window.start]
    high, low = window.theirs["high"], window.theirs["low"]
    left_out = [one for one in trades if not one.is_counted]
    for some in (left_out, *([one] for one in left_out)):
        if some and _explains(window, some, -1, slack):
            said = f"the venue counts what is {some[0].kind} here: {_where(some)}"
            return Explanation(Cause.OFF_BOOK_TRADE, said, _ids(some))
    if high is None or low is None:
        return None
    beside = [one for one in trades if one.is_counted and not low <= one.price <= high]
    for some in (beside, *([one] for one in beside)):
        if some and _explains(window, some, 1, slack):
            said = f"the venue does not count what is outside its {_plain(low)} to {_plain(high)}: {_where(some)}"
            return Explanation(Cause.OFF_BOOK_TRADE, said, _ids(some))
    return None


def _crossing(
    run: Sequence[Window], trades: Mapping[datetime, Sequence[EvidenceTrade]], length: timedelta
) -> dict[datetime, Explanation]:
    """The explanations of windows in a row that all differ because a clock is ahead or behind; {} if this is not so.

    Trades then cross the edges between the windows. As many trades cross an edge as the counts up to it differ, and
    they are the ones next to the edge. The clock explains the windows only if every window has the venue's volume once
    these trades are moved.
    """
    volumes = {one.start: _sum(trade.quantity for trade in trades[one.start] if trade.is_counted) for one in run}
    crossed: dict[datetime, list[EvidenceTrade]] = {one.start: [] for one in run}
    furthest, over = timedelta(0), 0
    for one, after in pairwise(run):
        count = one.delta("trade_count")
        if count is None:
            return {}
        over += int(count)
        counted = [trade for trade in trades[(one if over > 0 else after).start] if trade.is_counted]
        crossing = counted[-over:] if over > 0 else counted[: -over or 0]
        if sum(trade.matches for trade in crossing) != abs(over):
            return {}
        for trade in crossing:
            sign = 1 if over > 0 else -1
            volumes[one.start] = volumes[one.start] - sign * trade.quantity
            volumes[after.start] = volumes[after.start] + sign * trade.quantity
            furthest = max(furthest, abs(trade.time - after.start))
        crossed[one.start] += crossing
        crossed[after.start] += crossing
    if not any(crossed.values()) or any(volumes[one.start] != one.theirs["volume"] for one in run):
        return {}
    span = f"{run[0].start:%H:%M} to {run[-1].start + length:%H:%M}"
    said = f"from {span} trades are in the window beside their own, by up to {furthest.total_seconds():g} s"
    return {
        start: Explanation(Cause.SHIFTED_CLOCK, f"{said}: {_where(own)}", _ids(own)) for start, own in crossed.items()
    }


def _runs_of(windows: Sequence[Window], length: timedelta) -> list[list[Window]]:
    """The windows in runs that have no hole."""
    runs: list[list[Window]] = []
    for window in windows:
        if runs and runs[-1][-1].start + length == window.start:
            runs[-1].append(window)
        else:
            runs.append([window])
    return runs


def _deltas(window: Window) -> tuple[Decimal | None, ...]:
    return tuple(window.delta(cell) for cell in ("trade_count", "volume", "buy_volume"))


def _surplus(window: Window, trades: Sequence[EvidenceTrade], slack: Decimal) -> Explanation:
    found = [one for one in trades if one.is_counted and _explains(window, [one], 1, slack)]
    if len(found) == 1:
        return Explanation(Cause.SURPLUS_TRADE, f"the venue does not count {_where(found)}", _ids(found))
    return _unexplained(window)


def _missing(window: Window, evidence: Evidence) -> Explanation:
    end = window.start + evidence.length
    for gap in evidence.gaps:
        if gap.start < end and gap.end >= window.start:
            return Explanation(Cause.GAP, gap.description, gap.ids)
    dead_letters = [one for one in evidence.dead_letters if window.start <= one.start < end]
    if dead_letters:
        ids = tuple(one_id for dead_letter in dead_letters for one_id in dead_letter.ids)
        return Explanation(Cause.REJECTED_TRADE, "; ".join(one.description for one in dead_letters[:_NAMED]), ids)
    if evidence.until is None or evidence.until < end:
        return Explanation(Cause.LATE, "no trade of a later window is in Silver: check again later")
    count, volume, quote = (window.delta(cell) for cell in ("trade_count", "volume", "quote_volume"))
    if volume is None or volume >= 0:
        return _unexplained(window)
    said = f"{-count:f} trades of {_plain(-volume)}" if count and count < -1 else f"{_plain(-volume)}"
    if quote:
        said += f" at {_plain(_SHOWN.divide(quote, volume))}"
    side = window.delta("buy_volume")
    if side is not None and side in {0, volume}:
        said += ", taker " + ("BUY" if side else "SELL")
    holes = _holes(window.start, end, evidence.trades)
    if count is not None and len(holes) == -count:
        return Explanation(Cause.MISSING_TRADE, f"{said}, id {_few(holes)}", holes)
    return Explanation(Cause.MISSING_TRADE, said)


def _holes(start: datetime, end: datetime, trades: Sequence[EvidenceTrade]) -> tuple[str, ...]:
    """The ids that are missing from the trade before the window to the one after it, where ids are numbers."""
    before = [one for one in trades if one.time < start][-1:]
    after = [one for one in trades if one.time >= end][:1]
    around = [*before, *(one for one in trades if start <= one.time < end), *after]
    numbers = sorted(int(one.id) for one in around if one.id.isascii() and one.id.isdigit())
    if len(numbers) < len(around) or len(numbers) < 2 or numbers[-1] - numbers[0] > len(numbers) + _MOST_HOLES:
        return ()
    return tuple(map(str, sorted({*range(numbers[0], numbers[-1])} - {*numbers})))


def _explains(window: Window, trades: Sequence[EvidenceTrade], sign: int, slack: Decimal) -> bool:
    """Whether these trades explain the window: in every sum that the venue publishes, our value minus theirs is `sign`
    times the sum of the trades.

    `slack`: the largest difference of the quote volume, quote currency.
    """
    sums = {
        "trade_count": Decimal(sum(one.matches for one in trades)),
        "volume": _sum(one.quantity for one in trades),
        "buy_volume": _sum(one.quantity for one in trades if one.is_buy),
    }
    if window.theirs["volume"] is None or any(
        (delta := window.delta(cell)) is not None and delta != sign * amount for cell, amount in sums.items()
    ):
        return False
    quote, delta = _sum(one.quote for one in trades), window.delta("quote_volume")
    return delta is None or abs(delta - sign * quote) <= slack


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, Decimal(0))


def _is_rounding(window: Window, evidence: Evidence) -> bool:
    """Whether only volumes differ, by less than a unit of the venue's last digit for each trade."""
    if not set(window.differing) <= {"volume", "quote_volume", "buy_volume"}:
        return False
    trades = max(int(window.ours["trade_count"] or 1), 1)
    return all(
        (delta := window.delta(cell)) is not None
        and abs(delta) < trades * Decimal(1).scaleb(-evidence.decimals.get(cell, 18))
        for cell in window.differing
    )


def _rounding(window: Window) -> Explanation:
    return Explanation(Cause.ROUNDING, f"{', '.join(window.differing)}: less than the venue's last digit a trade")


def _unexplained(window: Window) -> Explanation:
    said = ", ".join(f"{cell} {delta:+f}" for cell in window.differing if (delta := window.delta(cell)) is not None)
    return Explanation(Cause.UNEXPLAINED, f"ours less theirs: {said}")


def _where(trades: Sequence[EvidenceTrade]) -> str:
    """The trades in words: id, quantity, price and time (UTC)."""
    said = [
        f"trade {one.id} ({_plain(one.quantity)} at {_plain(one.price)}, {one.time:%H:%M:%S.%f})"
        for one in trades[:_NAMED]
    ]
    return " or ".join(said) + (f" or one of {len(trades) - _NAMED} more" if len(trades) > _NAMED else "")


def _plain(amount: Decimal | int) -> str:
    """Every digit, without zeros at the end."""
    return f"{Decimal(amount).normalize():f}"


def _ids(trades: Sequence[EvidenceTrade]) -> tuple[str, ...]:
    return tuple(one.id for one in trades)


def _few(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_NAMED]) + (f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else "")


def _start_of(moment: datetime, length: timedelta) -> datetime:
    seconds = int(length.total_seconds())
    whole = int(moment.timestamp()) // seconds * seconds
    return datetime.fromtimestamp(whole, tz=moment.tzinfo)
