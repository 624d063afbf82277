"""The causes of a difference between a candle and the venue's bar, and the evidence for them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Context, Decimal
from enum import StrEnum

EXACT = Context(prec=80)


class Cause(StrEnum):
    """Why a window differs. Values never change, because they are stored."""

    GAP = "gap"
    LATE = "late"
    MISSING_TRADE = "missing_trade"
    REJECTED_TRADE = "rejected_trade"
    DOUBLED_TRADE = "doubled_trade"
    SURPLUS_TRADE = "surplus_trade"
    OFF_BOOK_TRADE = "off_book_trade"
    WRONG_SIDE = "wrong_side"
    SHIFTED_CLOCK = "shifted_clock"
    ORDER = "order"
    ROUNDING = "rounding"
    NO_BAR = "no_bar"
    UNEXPLAINED = "unexplained"


MEANINGS = {
    Cause.GAP: "a known gap of the producer touches the window: an `open` or `unfillable` row of producer_gaps",
    Cause.LATE: "no trade after the window has reached Silver yet: the candle is not finished",
    Cause.MISSING_TRADE: "the venue counts trades that Silver does not have",
    Cause.REJECTED_TRADE: "the venue counts trades that are dead letters here",
    Cause.DOUBLED_TRADE: "a trade is in Silver twice under two ids",
    Cause.SURPLUS_TRADE: "Silver counts a trade that the venue does not count",
    Cause.OFF_BOOK_TRADE: "a trade beside the order book is counted by one side only",
    Cause.WRONG_SIDE: "the taker's side of a trade is not the venue's",
    Cause.SHIFTED_CLOCK: "a trade is in another window than at the venue",
    Cause.ORDER: "the same trades, of which another one is the first or the last",
    Cause.ROUNDING: "the venue writes fewer digits than the exact sum has",
    Cause.NO_BAR: "the venue has no bar of this window, or it is not stored",
    Cause.UNEXPLAINED: "none of the causes explains the difference exactly",
}
# The venue writes fewer digits: no trade is wrong, and the candle agrees.
AGREEING = frozenset((Cause.ROUNDING,))


@dataclass(frozen=True, slots=True)
class EvidenceTrade:
    """A trade of Silver. `is_counted`: candles count it; `is_buy`: the taker bought."""

    id: str
    time: datetime
    price: Decimal
    quantity: Decimal
    is_buy: bool
    matches: int = 1
    is_counted: bool = True
    kind: str = "market"

    @property
    def quote(self) -> Decimal:
        """Price * quantity, exact."""
        return EXACT.multiply(self.price, self.quantity)


@dataclass(frozen=True, slots=True)
class Span:
    """A gap, or a dead letter, from `start` to `end` (UTC; of a dead letter both are its time).

    `description`: for the detail of an explanation. `ids`: of the trades, if they are known.
    """

    start: datetime
    end: datetime
    description: str
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """A window that differs. `ours`, `theirs`: the value of each cell, None if that side does not have it."""

    start: datetime
    differing: tuple[str, ...]
    ours: Mapping[str, Decimal | int | None]
    theirs: Mapping[str, Decimal | int | None]

    def delta(self, cell: str) -> Decimal | None:
        """Our value minus theirs; a missing candle counts as 0. None if the venue does not publish the cell."""
        theirs = self.theirs[cell]
        if theirs is None:
            return None
        return EXACT.subtract(Decimal(self.ours[cell] or 0), Decimal(theirs))


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence of one market around the windows that differ.

    `length`: of a window. `trades`: of these windows, by time. `until`: time of the newest trade in Silver.
    `decimals`: by cell, the largest number of decimals in the venue's bars.
    """

    length: timedelta
    trades: Sequence[EvidenceTrade] = ()
    gaps: Sequence[Span] = ()
    dead_letters: Sequence[Span] = ()
    until: datetime | None = None
    decimals: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The cause of a difference, its details in words, and the ids of the trades that explain it."""

    cause: Cause
    detail: str
    trade_ids: tuple[str, ...] = ()
