"""Finds how complete the days of a market's trades are, by trades, gaps, dead letters and the checkpoint. No I/O."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime

from cli.coverage.verdicts import (
    COMPLETE,
    MISSING,
    NOT_EXPECTED,
    PARTIAL,
    TRADES,
    UNKNOWN,
    CoverageDay,
    Verdict,
    without_rows,
)
from config.registry import Entry
from producers.backfill.done import DUMP, REST, Filled
from producers.gaps.gap import OPEN

LIVE, OTHER = "live", "other"
_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class StoredDay:
    """The trades of a day in Silver.

    Attributes:
        trades: rows, without `repeated`.
        ids: trade ids that they stand for; a row may stand for several matches.
        first_id: the lowest of these ids; None where an id is no number. `last_id`: the highest.
        live: how many rows were received within an hour of their time.
        repeated: rows with the id of another row, where all ids are numbers.
    """

    trades: int
    ids: int
    first_id: int | None
    last_id: int | None
    live: int
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class KnownGap:
    """A row of producer_gaps that is not healed, between two trades on these days (UTC).

    `has_ids`: it names the ids that are missing. One that does not is about what REST did not serve.
    """

    state: str
    has_ids: bool
    first_day: date
    last_day: date
    text: str


@dataclass(frozen=True, slots=True)
class TradesEvidence:
    """All that is known of a market's trades.

    Attributes:
        stored: by day: those asked for, and of the others the nearest before and after them.
        oldest: first day with a trade; None: there is none. `newest`: the last one.
        dead_letters: open dead letters by day and reason.
        filled: what the checkpoint says.
        entry: the market in the registry; None: it is not there.
        has_order: trade ids are consecutive numbers. `has_placeholders`: some of them are of no trade.
    """

    exchange: str
    symbol: str
    stored: Mapping[date, StoredDay] = field(default_factory=dict)
    oldest: date | None = None
    newest: date | None = None
    gaps: Sequence[KnownGap] = ()
    dead_letters: Mapping[date, Mapping[str, int]] = field(default_factory=dict)
    filled: Sequence[Filled] = ()
    entry: Entry | None = None
    has_order: bool = True
    has_placeholders: bool = False


def trades_verdicts(evidence: TradesEvidence, days: Sequence[date], today: date) -> list[CoverageDay]:
    """The verdict on each day. `today` (UTC) is not over."""
    return [*_verdicts(evidence, days, today)]


def _verdicts(evidence: TradesEvidence, days: Sequence[date], today: date) -> Iterator[CoverageDay]:
    held = sorted(evidence.stored)
    for day in days:
        span = _span_us(day)
        touching = [one for one in evidence.filled if one.start_us < span[1] and one.end_us > span[0]]
        own = evidence.stored.get(day)
        before = evidence.stored[held[at - 1]] if (at := bisect_left(held, day)) else None
        after = evidence.stored[held[at]] if (at := bisect_right(held, day)) < len(held) else None
        evaluated = _Day(evidence, day, span, own, before, after, touching)
        verdict = evaluated.open_day() if day >= today else evaluated.verdict()
        if own and own.repeated:
            twice = f"{own.repeated:,} rows repeat a trade: `medallion rederive`"
            verdict = replace(verdict, detail="; ".join(filter(None, (verdict.detail, twice))))
        yield CoverageDay(
            evidence.exchange, evidence.symbol, TRADES, "", day, verdict.status, verdict.why, verdict.detail,
            evaluated.sources(), own.trades if own else 0,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Day:
    """One day. `before`, `after`: the nearest days with trades. `touching`: the back-filled spans that touch it."""

    evidence: TradesEvidence
    day: date
    span: tuple[int, int]
    own: StoredDay | None
    before: StoredDay | None
    after: StoredDay | None
    touching: Sequence[Filled]

    def verdict(self) -> Verdict:
        """The verdict on a day that is over: the first evidence that decides, the strongest first."""
        return (
            self._by_sequence()
            or self._by_gaps_and_dead_letters()
            or self._by_back_fill()
            or (self._by_ids() if self.own else self._without_trades())
        )

    def _by_sequence(self) -> Verdict | None:
        if self._hole() != 0 or not self._is_in_sequence():
            return None
        return Verdict(COMPLETE, "ids_in_sequence", "" if self.own else "no trades that day")

    def _by_gaps_and_dead_letters(self) -> Verdict | None:
        if gaps := self._gaps():
            why = "gap_open" if any(gap.state == OPEN for gap in gaps) else "gap_unfillable"
            return Verdict(self._incomplete, why, "; ".join(gap.text for gap in gaps))
        if dead_letters := self.evidence.dead_letters.get(self.day):
            counted = ", ".join(f"{reason} {count:,}" for reason, count in sorted(dead_letters.items()))
            return Verdict(self._incomplete, "dead_letters", counted)
        return None

    def _by_back_fill(self) -> Verdict | None:
        if files := self._files():
            if dead := sum(one.dead for one in files):
                return Verdict(self._incomplete, "dead_letters", f"{dead:,} rows of the file are no trades")
            return self._by_count(files, "file_read")
        # The checkpoint has no number of trades per day of a longer window. Ids with an order are better evidence.
        within = [one for one in self.touching if one.is_done and self._is_within(one)]
        if not self.evidence.has_order and (windows := _chain(within, self.span)):
            return self._by_count(windows, "window_served")
        if left := sum(one.left for one in self.touching):
            return Verdict(self._incomplete, "under_way", f"{left:,} trades of the window are left")
        return None

    def _files(self) -> list[Filled] | None:
        return _chain([one for one in self.touching if one.is_done and one.source == DUMP], self.span)

    def _by_count(self, read: Sequence[Filled], why: str) -> Verdict | None:
        if any(one.trades is None for one in read):
            return None
        stored, wanted = self.own.trades if self.own else 0, sum(one.trades or 0 for one in read)
        if stored < wanted:
            return Verdict(self._incomplete, "rows_missing", f"{stored:,} of {wanted:,} trades are stored")
        return Verdict(COMPLETE, why, "" if wanted else "no trades that day")

    def _is_within(self, one: Filled) -> bool:
        return self.span[0] <= one.start_us and one.end_us <= self.span[1]

    @property
    def _incomplete(self) -> str:
        return PARTIAL if self.own else MISSING

    def open_day(self) -> Verdict:
        """The verdict on today."""
        if self.own is None:
            ended = without_rows(self.evidence.entry, self.day, self._bounds())
            if ended.status == NOT_EXPECTED:
                return ended
        return Verdict(self._incomplete, "day_open", "; ".join(gap.text for gap in self._gaps()))

    def sources(self) -> tuple[str, ...]:
        """Who brought the trades."""
        if self.own is None:
            return ()
        filled = {one.source for one in self.touching if one.is_done or one.source == REST}
        late = self.own.trades + self.own.repeated > self.own.live
        found = {LIVE: self.own.live > 0, DUMP: DUMP in filled, REST: REST in filled, OTHER: late and not filled}
        return tuple(source for source, is_one in found.items() if is_one)

    def _bounds(self) -> list[date]:
        return [day for day in (self.evidence.oldest, self.evidence.newest) if day is not None]

    def _by_ids(self) -> Verdict:
        """The verdict on a day with trades and without other evidence."""
        if not self.evidence.has_order or self.own is None or self.own.first_id is None or self.own.last_id is None:
            return Verdict(UNKNOWN, "ids_without_order")
        first, last = self.own.first_id, self.own.last_id
        lower, upper = self._lower(), self._upper()
        # A hole at an edge may be of the neighbouring day: as for candles, it counts for both.
        holes = (
            first - lower if lower is not None else 0,
            last + 1 - first - self.own.ids,
            upper - 1 - last if upper is not None else 0,
        )
        if min(holes) < 0:
            return Verdict(UNKNOWN, "ids_contradict")
        if lost := sum(holes):
            if self.evidence.has_placeholders:
                return Verdict(UNKNOWN, "ids_without_trade", f"{lost:,} ids")
            return Verdict(PARTIAL, "ids_missing", f"{lost:,} ids")
        sides = [side for side, edge in (("before", lower), ("after", upper)) if edge is None]
        return Verdict(UNKNOWN, "edge_unknown", f"nothing is stored {' and '.join(sides)} it")

    def _without_trades(self) -> Verdict:
        hole = self._hole()
        failures = [one.failure for one in self.touching if one.failure]
        found = without_rows(self.evidence.entry, self.day, self._bounds())
        if found.status == MISSING and failures:
            return Verdict(MISSING, "failed", failures[-1])
        if found.why == "no_run" and hole is not None and hole > 0:
            return Verdict(MISSING, "no_run", f"{hole:,} ids are missing between the trades around it")
        return found

    def _gaps(self) -> list[KnownGap]:
        found = [gap for gap in self.evidence.gaps if gap.first_day <= self.day <= gap.last_day]
        # What REST did not serve, a dump may have. Ids that a dump has are healed when it is read.
        return [gap for gap in found if gap.has_ids] if self._files() else found

    def _lower(self) -> int | None:
        """The id that the day's first trade has if none is missing before it; None: unknown."""
        known = [self.before.last_id + 1] if self.before is not None and self.before.last_id is not None else []
        known += [one.first_id for one in self.touching if one.first_id is not None and one.start_us <= self.span[0]]
        return max(known, default=None)

    def _upper(self) -> int | None:
        """The id after that of the day's last trade if none is missing; None: unknown."""
        known = [self.after.first_id] if self.after is not None and self.after.first_id is not None else []
        known += [one.last_id + 1 for one in self.touching if one.last_id is not None and one.end_us >= self.span[1]]
        return min(known, default=None)

    def _hole(self) -> int | None:
        """How many ids are missing between the trades around the day; None: unknown. Below 0: ids contradict."""
        lower, upper = self._lower(), self._upper()
        if not self.evidence.has_order or lower is None or upper is None or (self.own and self.own.first_id is None):
            return None
        return upper - lower - (self.own.ids if self.own else 0)

    def _is_in_sequence(self) -> bool:
        if self.own is None or self.own.last_id is None:
            return self.own is None
        return self.own.first_id == self._lower() and self.own.last_id + 1 == self._upper()


def _chain(spans: Sequence[Filled], day: tuple[int, int]) -> list[Filled] | None:
    """Spans that cover the day one after the other, so that their trades add up; None: they do not."""
    chain: list[Filled] = []
    at = day[0]
    while at < day[1]:
        following = [one for one in spans if one.start_us == at]
        if not following:
            return None
        chain.append(max(following, key=lambda one: one.end_us))
        at = chain[-1].end_us
    return chain


def _span_us(day: date) -> tuple[int, int]:
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000
    return start, start + _DAY_US
