"""What coverage says of a day: its status, and why. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from config.registry import DELISTED, HALTED, Entry

COMPLETE, PARTIAL, MISSING, UNKNOWN, NOT_EXPECTED = "complete", "partial", "missing", "unknown", "not_expected"
TRADES = "trades"
# The reasons, in the order in which they are looked for.
MEANINGS = {
    "ids_in_sequence": "the trade ids have no hole from the trade before the day to the one after it",
    "file_read": "a dump of the whole day was read, and as many trades are stored as it has",
    "window_served": "a back-fill over REST read the day, and as many trades are stored as it brought",
    "all_periods": "every period of the day is stored, or as many rows as the day has",
    "day_open": "the day is not over",
    "gap_open": "trades are known to be missing and are being asked for: `open` rows of producer_gaps",
    "gap_unfillable": "trades are known to be missing for good: `unfillable` rows of producer_gaps",
    "dead_letters": "messages of the day were rejected: dlq_trades, or series_dead_letters",
    "rows_missing": "fewer trades are stored than the dump or window has: Silver is behind, or lost them",
    "under_way": "a back-fill over REST was begun and not finished",
    "ids_missing": "trade ids are missing, and no gap names them",
    "periods_missing": "fewer periods or rows are stored than a day has",
    "failed": "the last back-fill could not read the dump of the day",
    "before_first": "the day is before the oldest stored row",
    "after_last": "the day is after the newest stored row",
    "no_run": "nothing of the market is stored, and no run has fetched any of it",
    "ids_without_order": "trades are stored, and the exchange's ids do not tell whether they are all",
    "ids_without_trade": "ids are missing, and the exchange gives some ids to no trade",
    "ids_contradict": "the order of the ids is not that of the times",
    "edge_unknown": "no hole, but nothing is stored before or after the day that its ids could follow",
    "interval_unknown": "rows are stored, and those around the day do not show how often they come",
    "count_unknown": "rows are stored, and how many a day has is unknown, or there are more",
    "session_unknown": "nothing is stored, and the market, which is closed at times, may have been open",
    "delisting_unknown": "the market is gone from the exchange's list, and nothing says when it traded last",
    "not_listed": "the market was not listed yet",
    "halted": "the exchange had halted the market",
    "delisted": "the market was no longer listed",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A status, the reason's name in `MEANINGS`, and what was found, in words."""

    status: str
    why: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CoverageDay:
    """The verdict on a UTC day of a market and its data: trades, or a series.

    `exchange` and `symbol` are "" where a series is of no market. `frame`: the length of a series' periods, else "".
    `sources`: where the stored rows come from: live, dump, rest, other; the providers of a series. `rows`: how many
    trades or rows are stored.
    """

    exchange: str
    symbol: str
    data: str
    frame: str
    day: date
    status: str
    why: str
    detail: str
    sources: tuple[str, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class CoverageRun:
    """Successive days with the same verdict. `detail` is that of all its days, or "" where they differ."""

    first: CoverageDay
    last: date
    days: int
    rows: int
    detail: str


def joined(days: Iterable[CoverageDay]) -> list[CoverageRun]:
    """Join successive days of one market with the same status, reason and sources, in the order given."""
    runs: list[CoverageRun] = []
    for one in days:
        if runs and _follows(runs[-1], one):
            before = runs[-1]
            same = before.detail if before.detail == one.detail else ""
            runs[-1] = CoverageRun(before.first, one.day, before.days + 1, before.rows + one.rows, same)
        else:
            runs.append(CoverageRun(one, one.day, 1, one.rows, one.detail))
    return runs


def _follows(run: CoverageRun, one: CoverageDay) -> bool:
    same = replace(run.first, day=one.day, detail=one.detail, rows=one.rows)
    return same == one and run.last + timedelta(days=1) == one.day


def days_between(first: date, last: date) -> list[date]:
    """Every day from first to last, both included."""
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def without_rows(entry: Entry | None, day: date, stored: Sequence[date]) -> Verdict:
    """The verdict on a day that is over, of which nothing is stored and no other evidence is known.

    Args:
        entry: the market in the registry; None: it is not there, or the series is of no market.
        day: UTC.
        stored: the days with rows, in order.
    """
    if entry is not None and (ended := _not_listed(entry, day, stored)) is not None:
        return ended
    if stored and day < stored[0]:
        return Verdict(MISSING, "before_first", f"the oldest stored is of {stored[0]}")
    if stored and day > stored[-1]:
        return Verdict(MISSING, "after_last", f"the newest stored is of {stored[-1]}")
    return Verdict(MISSING, "no_run")


def _not_listed(entry: Entry, day: date, stored: Sequence[date]) -> Verdict | None:
    if entry.listed_on is not None and day < entry.listed_on:
        return Verdict(NOT_EXPECTED, "not_listed", f"listed on {entry.listed_on}")
    if entry.status == DELISTED and entry.delisted_on is not None:
        if day > entry.delisted_on:
            return Verdict(NOT_EXPECTED, "delisted", f"not on the list since {entry.delisted_on}")
        if stored and day > stored[-1]:
            return Verdict(
                UNKNOWN, "delisting_unknown", f"newest stored {stored[-1]}, not on the list since {entry.delisted_on}"
            )
    if entry.status in {HALTED, DELISTED} and entry.halted_on is not None and day > entry.halted_on:
        return Verdict(NOT_EXPECTED, "halted", f"halted since {entry.halted_on}")
    return None
