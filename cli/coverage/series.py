"""Finds how complete the days of a market's series are, by how many rows are stored. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from cli.coverage.verdicts import (
    COMPLETE,
    MISSING,
    NOT_EXPECTED,
    PARTIAL,
    UNKNOWN,
    CoverageDay,
    Verdict,
    without_rows,
)
from config.registry import Entry
from series.declaration import series_named


@dataclass(frozen=True, slots=True)
class SeriesDay:
    """What is stored of a day: `rows` of `expected` (0: the number is unknown), and how many were rejected."""

    rows: int
    expected: int
    rejected: int
    providers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SeriesEvidence:
    """All that is known of a series of a market. `days`: every day with rows or rejected rows.

    `in_sessions`: the market is closed at times.
    """

    series: str
    exchange: str
    symbol: str
    frame: str
    days: Mapping[date, SeriesDay] = field(default_factory=dict)
    entry: Entry | None = None
    in_sessions: bool = False


def series_verdicts(evidence: SeriesEvidence, days: Sequence[date], today: date) -> list[CoverageDay]:
    """The verdict on each day. `today` (UTC) is not over."""
    stored = sorted(day for day, one in evidence.days.items() if one.rows)
    verdicts = []
    for day in days:
        own = evidence.days.get(day, SeriesDay(0, 0, 0, ()))
        verdict = _verdict(evidence, own, day, stored, is_over=day < today)
        findings = (verdict.status, verdict.why, verdict.detail, own.providers, own.rows)
        verdicts.append(
            CoverageDay(evidence.exchange, evidence.symbol, evidence.series, evidence.frame, day, *findings)
        )
    return verdicts


def _verdict(evidence: SeriesEvidence, own: SeriesDay, day: date, stored: Sequence[date], *, is_over: bool) -> Verdict:
    counted = f"{own.rows:,} of {own.expected:,}" if own.expected else ""
    rejected = f"{own.rejected:,} rows were rejected" if own.rejected else ""
    without = Verdict(UNKNOWN, "session_unknown") if evidence.in_sessions else without_rows(evidence.entry, day, stored)
    if own.rows and own.rows == own.expected:
        return Verdict(COMPLETE, "all_periods")
    if not is_over and (own.rows or not evidence.in_sessions) and without.status != NOT_EXPECTED:
        return Verdict(PARTIAL if own.rows else MISSING, "day_open", counted)
    missing = PARTIAL if own.rows else MISSING
    if own.rejected:
        return Verdict(missing, "dead_letters", ", ".join(part for part in (counted, rejected) if part))
    if not own.rows:
        return without
    if own.expected:
        is_short = own.rows < own.expected
        return Verdict(PARTIAL, "periods_missing", counted) if is_short else Verdict(UNKNOWN, "count_unknown", counted)
    is_observed = series_named(evidence.series).row_interval == "observed"
    return Verdict(UNKNOWN, "interval_unknown" if is_observed else "count_unknown")
