"""Invariant: a day is called complete only where nothing of it can be missing, and no other day is blamed for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.coverage.series import SeriesDay, SeriesEvidence, series_verdicts
from cli.coverage.trades import KnownGap, StoredDay, TradesEvidence, trades_verdicts
from cli.coverage.verdicts import MEANINGS, joined
from config.registry import Entry
from producers.backfill.done import Filled

DAY = date(2026, 7, 10)
BEFORE, AFTER = DAY - timedelta(days=1), DAY + timedelta(days=1)
TODAY = date(2026, 7, 20)
BTC = Entry(canonical="BTCUSDT", base="BTC", quote="USDT")


def us(day: date, hours: int = 0) -> int:
    return int(datetime(day.year, day.month, day.day, hours, tzinfo=UTC).timestamp()) * 1_000_000


def ids(first: int, last: int, *, count: int | None = None, live: int = 0) -> StoredDay:
    held = last - first + 1 if count is None else count
    return StoredDay(held, held, first, last, live)


def of(stored: Mapping[date, StoredDay], **more: object) -> TradesEvidence:
    known = TradesEvidence(
        "binance", "BTCUSDT", stored, min(stored, default=None), max(stored, default=None), entry=BTC
    )
    return replace(known, **more)  # type: ignore[arg-type]  # the fields of a case


def file(first: int, last: int, trades: int | None = None, **more: object) -> Filled:
    known = Filled("binance", "BTCUSDT", "dump", us(DAY), us(AFTER), is_done=True, first_id=first, last_id=last)
    return replace(known, trades=last - first + 1 if trades is None else trades, **more)  # type: ignore[arg-type]


def window(first: date, end: date, *, is_done: bool = True, **more: object) -> Filled:
    known = Filled("binance", "BTCUSDT", "rest", us(first), us(end), is_done=is_done)
    return replace(known, **more)  # type: ignore[arg-type]


def gap(state: str, *, has_ids: bool = True, first: date = DAY, last: date = DAY) -> KnownGap:
    return KnownGap(state, has_ids, first, last, "said")


AROUND = {BEFORE: ids(1, 10), AFTER: ids(21, 30)}
WHOLE = {**AROUND, DAY: ids(11, 20)}
HOLED = {**AROUND, DAY: ids(11, 20, count=9)}
QUIET = {BEFORE: ids(1, 10), AFTER: ids(11, 30)}
ALONE = {DAY: ids(11, 20)}
TEXTS = StoredDay(3, 3, None, None, 3)
DEAD_LETTERS = {DAY: {"price_above_limit": 1}}
NO_FILE = Filled("binance", "BTCUSDT", "dump", us(DAY), us(AFTER), is_done=False, failure="no such file")
GONE = BTC.model_copy(update={"status": "delisted", "delisted_on": DAY})
HALTED = BTC.model_copy(update={"status": "halted", "halted_on": BEFORE})
YOUNG = BTC.model_copy(update={"listed_on": AFTER})

CASES = {
    # Ids prove it, whatever else is known.
    "ids from neighbour to neighbour": (of(WHOLE), "complete", "ids_in_sequence"),
    "ids, and a gap that is of another day": (of(WHOLE, gaps=[gap("open")]), "complete", "ids_in_sequence"),
    "ids, and a message that was also rejected": (of(WHOLE, dead_letters=DEAD_LETTERS), "complete", "ids_in_sequence"),
    "no trade, and the ids around it follow": (of(QUIET), "complete", "ids_in_sequence"),
    "ids from a window's first to its last": (
        of(ALONE, filled=[window(DAY, AFTER, first_id=11, last_id=20)]),
        "complete",
        "ids_in_sequence",
    ),
    "a window without a trade": (
        of({}, filled=[window(DAY, AFTER, first_id=11, last_id=10)]),
        "complete",
        "ids_in_sequence",
    ),
    "ids from a window's first to its last, and the days beside it lack some": (
        of(
            {BEFORE: ids(1, 4), DAY: ids(11, 20), AFTER: ids(25, 30)},
            filled=[window(DAY, AFTER, first_id=11, last_id=20)],
        ),
        "complete",
        "ids_in_sequence",
    ),
    "ids of a window that begins at noon": (
        of(
            {DAY: ids(11, 20), AFTER: ids(21, 30)},
            filled=[window(DAY, AFTER, start_us=us(DAY, 12), first_id=11, last_id=20)],
        ),
        "unknown",
        "edge_unknown",
    ),
    "ids of a window that ends at noon": (
        of(
            {BEFORE: ids(1, 10), DAY: ids(11, 20)},
            filled=[window(DAY, AFTER, end_us=us(DAY, 12), first_id=11, last_id=20)],
        ),
        "unknown",
        "edge_unknown",
    ),
    # A dump says how many there were.
    "all of a dump": (of(ALONE, filled=[file(11, 20)]), "complete", "ids_in_sequence"),
    "all of a dump with ids of no trade": (
        of({DAY: ids(11, 20, count=8)}, has_placeholders=True, filled=[file(11, 20, 8)]),
        "complete",
        "file_read",
    ),
    "two parts of a dump": (
        of(
            {DAY: ids(11, 20, count=8)},
            filled=[
                file(11, 15, 4, end_us=us(DAY, 12)),
                file(16, 20, 4, start_us=us(DAY, 12)),
            ],
        ),
        "complete",
        "file_read",
    ),
    "half of a dump": (of(HOLED, filled=[file(11, 15, 4, end_us=us(DAY, 12))]), "partial", "ids_missing"),
    "a dump, and Silver is behind": (of({DAY: ids(11, 18)}, filled=[file(11, 20)]), "partial", "rows_missing"),
    "a dump, and nothing of it in Silver": (of({}, filled=[file(11, 20)]), "missing", "rows_missing"),
    "a dump without a trade": (
        of({}, filled=[file(0, -1, first_id=None, last_id=None)]),
        "complete",
        "file_read",
    ),
    "a dump with rows that are no trades": (
        of({DAY: ids(11, 20, count=9)}, filled=[file(11, 20, 9, dead=1)]),
        "partial",
        "dead_letters",
    ),
    "a dump with a hole that is known": (
        of({DAY: ids(11, 20, count=9)}, filled=[file(11, 20, 9)], gaps=[gap("open")]),
        "partial",
        "gap_open",
    ),
    "a dump of what REST did not serve": (
        of({DAY: ids(11, 20, count=9)}, filled=[file(11, 20, 9)], gaps=[gap("unfillable", has_ids=False)]),
        "complete",
        "file_read",
    ),
    "a dump that was not there": (of(AROUND, filled=[NO_FILE]), "missing", "failed"),
    # Known losses.
    "an open gap": (of(HOLED, gaps=[gap("unfillable"), gap("open")]), "partial", "gap_open"),
    "a gap that nothing fills": (of(HOLED, gaps=[gap("unfillable")]), "partial", "gap_unfillable"),
    "a gap over the whole day": (
        of(AROUND, gaps=[gap("unfillable", first=BEFORE, last=AFTER)]),
        "missing",
        "gap_unfillable",
    ),
    "a gap of other days": (of(HOLED, gaps=[gap("open", first=BEFORE, last=BEFORE)]), "partial", "ids_missing"),
    "a rejected trade": (of(HOLED, dead_letters=DEAD_LETTERS), "partial", "dead_letters"),
    "a window that was begun": (
        of(HOLED, filled=[window(DAY, AFTER, is_done=False, left=1)]),
        "partial",
        "under_way",
    ),
    # Only ids.
    "a missing id": (of(HOLED), "partial", "ids_missing"),
    "ids that may be of no trade": (of(HOLED, has_placeholders=True), "unknown", "ids_without_trade"),
    "a hole before the first": (of({BEFORE: ids(1, 9), **ALONE, AFTER: ids(21, 30)}), "partial", "ids_missing"),
    "nothing before": (of({DAY: ids(11, 20), AFTER: ids(21, 30)}), "unknown", "edge_unknown"),
    "nothing after": (of({BEFORE: ids(1, 10), DAY: ids(11, 20)}), "unknown", "edge_unknown"),
    "as many ids as there should be, and others": (
        of({**WHOLE, BEFORE: ids(1, 12, count=10), DAY: ids(11, 20, count=8)}),
        "unknown",
        "ids_contradict",
    ),
    "a later id on the day before": (of({**WHOLE, BEFORE: ids(1, 12, count=11)}), "unknown", "ids_contradict"),
    "ids that are no numbers": (
        of({DAY: TEXTS}, has_order=False),
        "unknown",
        "ids_without_order",
    ),
    "no order, and all that REST has": (
        of({DAY: TEXTS}, has_order=False, filled=[window(DAY, AFTER, trades=3)]),
        "complete",
        "window_served",
    ),
    "no order, and more that REST has": (
        of({DAY: TEXTS}, has_order=False, filled=[window(DAY, AFTER, trades=4)]),
        "partial",
        "rows_missing",
    ),
    "no order, and REST has the next day, too": (
        of({DAY: TEXTS}, has_order=False, filled=[window(DAY, AFTER + timedelta(days=1), trades=9)]),
        "unknown",
        "ids_without_order",
    ),
    "no order, and REST has more days": (
        of({DAY: TEXTS}, has_order=False, filled=[window(BEFORE, AFTER, trades=3)]),
        "unknown",
        "ids_without_order",
    ),
    # Nothing is stored.
    "between two days": (of(AROUND), "missing", "no_run"),
    "before the oldest": (of({AFTER: ids(1, 5)}), "missing", "before_first"),
    "after the newest": (of({BEFORE: ids(1, 5)}), "missing", "after_last"),
    "nothing at all": (of({}), "missing", "no_run"),
    "not listed yet": (of({}, entry=YOUNG), "not_expected", "not_listed"),
    "halted": (of({BEFORE: ids(1, 5)}, entry=HALTED), "not_expected", "halted"),
    "the day on which it was seen to be gone": (of({BEFORE: ids(1, 5)}, entry=GONE), "unknown", "delisting_unknown"),
    "gone, and nothing was ever stored": (of({}, entry=GONE), "missing", "no_run"),
}  # fmt: skip


@pytest.mark.parametrize(("evidence", "status", "why"), CASES.values(), ids=[*CASES])
def test_each_day_has_its_verdict(evidence: TradesEvidence, status: str, why: str) -> None:
    (one,) = trades_verdicts(evidence, [DAY], TODAY)
    assert (one.status, one.why) == (status, why), one.detail
    assert why in MEANINGS


def test_days_of_a_delisted_market_after_its_end_are_not_missing() -> None:
    later = [DAY + timedelta(days=number) for number in range(1, 4)]
    found = trades_verdicts(of({BEFORE: ids(1, 5)}, entry=GONE), later, TODAY)
    assert {(one.status, one.why) for one in found} == {("not_expected", "delisted")}


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        (of({**AROUND, DAY: ids(11, 20)}), ("partial", "day_open")),
        (of({}), ("missing", "day_open")),
        (of({BEFORE: ids(1, 5)}, entry=GONE.model_copy(update={"delisted_on": BEFORE})), ("not_expected", "delisted")),
    ],
)
def test_today_is_never_complete(evidence: TradesEvidence, expected: tuple[str, str]) -> None:
    (one,) = trades_verdicts(evidence, [DAY], DAY)
    assert (one.status, one.why) == expected


def test_sources_are_who_brought_the_trades() -> None:
    def sources(evidence: TradesEvidence) -> tuple[str, ...]:
        return trades_verdicts(evidence, [DAY], TODAY)[0].sources

    assert sources(of({DAY: ids(1, 5, live=5)})) == ("live",)
    assert sources(of({DAY: ids(1, 5, live=2)}, filled=[file(1, 5), window(DAY, AFTER)])) == ("live", "dump", "rest")
    assert sources(of({DAY: ids(1, 5)})) == ("other",)
    assert sources(of({}, filled=[file(1, 5)])) == ()


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=7),
    st.lists(st.booleans(), min_size=28, max_size=28),
    st.booleans(),
)
def test_complete_is_never_said_of_a_day_that_lacks_a_trade(
    counts: list[int], held: list[bool], with_dumps: bool
) -> None:
    """An exchange with `counts` trades a day; `held` of them are in Silver, and dumps tell of every second day."""
    stored, truth, dumps = {}, {}, []
    days = [DAY + timedelta(days=number) for number in range(len(counts))]
    first = 1
    for number, (day, count) in enumerate(zip(days, counts, strict=True)):
        everything = [*range(first, first + count)]
        here = [one for one in everything if held[one - 1]]
        truth[day] = here == everything
        if here:
            stored[day] = ids(here[0], here[-1], count=len(here))
        if with_dumps and number % 2:
            ends = (everything[0], everything[-1]) if everything else (None, None)
            spans = (us(day), us(day + timedelta(days=1)))
            dumps.append(
                Filled(
                    "binance", "BTCUSDT", "dump", *spans, is_done=True, first_id=ends[0], last_id=ends[1], trades=count
                )
            )
        first += count
    found = {one.day: one for one in trades_verdicts(of(stored, filled=dumps), days, TODAY)}
    for day in days:
        assert truth[day] or found[day].status != "complete", (day, found[day])
    if all(truth.values()):
        # Nothing is missing: only the edges of what is stored are not known.
        inner = [one for one in found.values() if min(stored, default=TODAY) < one.day < max(stored, default=DAY)]
        assert {one.status for one in inner} <= {"complete"}
    for one in found.values():
        assert one.why in MEANINGS


def test_a_series_is_counted_by_its_periods() -> None:
    days = {
        DAY: SeriesDay(1440, 1440, 3, ("binance",)),
        AFTER: SeriesDay(1439, 1440, 0, ("binance",)),
        AFTER + timedelta(days=1): SeriesDay(1439, 1440, 1, ("ccxt",)),
        AFTER + timedelta(days=3): SeriesDay(7, 1440, 0, ("ccxt",)),
    }
    asked = [BEFORE, *(DAY + timedelta(days=number) for number in range(5))]
    found = series_verdicts(SeriesEvidence("bars", "binance", "BTCUSDT", "1m", days, BTC), asked, asked[-1])
    assert [(one.status, one.why, one.detail, one.rows) for one in found] == [
        ("missing", "before_first", f"the oldest stored is of {DAY}", 0),
        ("complete", "all_periods", "", 1440),
        ("partial", "periods_missing", "1,439 of 1,440", 1439),
        ("partial", "dead_letters", "1,439 of 1,440, 1 rows were rejected", 1439),
        ("missing", "no_run", "", 0),
        ("partial", "day_open", "7 of 1,440", 7),
    ]
    moments = {
        DAY: SeriesDay(3, 0, 0, ("ccxt",)),
        AFTER: SeriesDay(2, 3, 0, ("ccxt",)),
        AFTER + timedelta(days=1): SeriesDay(4, 3, 0, ("ccxt",)),
    }
    asked = [DAY, *(AFTER + timedelta(days=number) for number in range(3))]
    found = series_verdicts(SeriesEvidence("funding_rates", "binance_usdm", "BTCUSDT", "", moments), asked, TODAY)
    assert [(one.status, one.why, one.detail) for one in found] == [
        ("unknown", "interval_unknown", ""),
        ("partial", "periods_missing", "2 of 3"),
        ("unknown", "count_unknown", "4 of 3"),
        ("missing", "after_last", f"the newest stored is of {AFTER + timedelta(days=1)}"),
    ]


def test_a_day_without_bars_may_be_one_on_which_the_market_was_closed() -> None:
    """A daily bar is all that a day has. One that is not over, or has rejected rows, counts as elsewhere."""
    minutes = {DAY: SeriesDay(390, 0, 0, ("polygon",)), AFTER: SeriesDay(0, 0, 2, ("polygon",))}
    asked = [BEFORE, DAY, AFTER, TODAY]
    sessions = SeriesEvidence("bars", "polygon", "AAPL", "1m", minutes, in_sessions=True)
    assert [(one.status, one.why) for one in series_verdicts(sessions, asked, TODAY)] == [
        ("unknown", "session_unknown"),
        ("unknown", "count_unknown"),
        ("missing", "dead_letters"),
        ("unknown", "session_unknown"),
    ]
    days = {DAY: SeriesDay(1, 1, 0, ("polygon",)), TODAY: SeriesDay(1, 0, 0, ("polygon",))}
    daily = SeriesEvidence("bars", "polygon", "AAPL", "1d", days, in_sessions=True)
    assert [(one.status, one.why) for one in series_verdicts(daily, [DAY, TODAY], TODAY)] == [
        ("complete", "all_periods"),
        ("partial", "day_open"),
    ]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2)), max_size=12))
def test_runs_hold_every_day_once_in_order(shape: list[tuple[bool, int]]) -> None:
    day, days = DAY, []
    for is_next, kind in shape:
        day += timedelta(days=1 if is_next else 3)
        (one,) = trades_verdicts(of({}), [day], TODAY)
        days.append(replace(one, why=["no_run", "failed", "after_last"][kind], rows=kind, detail=str(day)))
    runs = joined(days)
    spread = [(run.first.why, run.first.day + timedelta(days=number)) for run in runs for number in range(run.days)]
    assert spread == [(one.why, one.day) for one in days]
    assert sum(run.rows for run in runs) == sum(one.rows for one in days)
    assert all(run.last == run.first.day + timedelta(days=run.days - 1) for run in runs)
    assert all(a.first.why != b.first.why or a.last + timedelta(days=1) != b.first.day for a, b in pairwise(runs))


def test_the_document_has_every_reason_in_the_same_words() -> None:
    text = (Path(__file__).parents[2] / "docs" / "coverage.md").read_text(encoding="utf-8")
    table = text.partition("| why | meaning |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.MULTILINE)
    assert rows == [*MEANINGS.items()]
