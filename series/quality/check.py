"""Checks the candles of whole markets: both sides of a day are read and judged, the verdicts go to quality_checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from schemas.kinds import COUNTED
from series.quality.compare import compare
from series.quality.verdicts import differing_windows, judge
from series.store import SeriesStore

_SQL = Path(__file__).with_name("sql")
_TABLE = "quality_checks_log"
_EQUAL = "equal"


@dataclass(frozen=True, slots=True)
class Market:
    """A market whose bars of one frame are stored. `seconds`: length of a bar. `own_names`: the exchange's own."""

    exchange: str
    symbol: str
    frame: str
    seconds: int
    own_names: tuple[str, ...] = ()


@dataclass(slots=True)
class MarketReport:
    """What was compared of a market. `causes`: windows by cause. `findings`: every window that is not equal."""

    exchange: str
    symbol: str
    frame: str
    windows: int = 0
    equal: int = 0
    cells: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, Any]] = field(default_factory=list)


class QualityCheck:
    """Compares day by day, so that memory does not grow with the span."""

    def __init__(self, store: SeriesStore) -> None:
        """`store`: where both sides are."""
        self._store = store

    def run(self, market: Market, start: datetime, end: datetime, progress: Callable[[], None]) -> MarketReport:
        """Compare the windows of [start, end) (UTC) that are over and of which the venue's bars are stored.

        Raises:
            StoreError: ClickHouse is away.
        """
        report = MarketReport(market.exchange, market.symbol, market.frame)
        for day_start, day_end in _days(start, end):
            verdicts = self._of_day(market, day_start, day_end)
            if verdicts is not None:
                self._write(market, verdicts)
                _count(report, verdicts)
            progress()
        return report

    def _of_day(self, market: Market, start: datetime, end: datetime) -> pa.Table | None:
        asked: dict[str, Any] = {"exchange": market.exchange, "symbol": market.symbol, "start": start, "end": end}
        theirs = self._table("theirs", asked | {"frame": market.frame})
        if not theirs.num_rows:
            return None
        times = theirs["window_start"]
        # What the venue has not published yet is not missing.
        spanned = asked | {"start": pa.compute.min(times).as_py(), "end": _end_of(times, market)}
        ours = self._table("ours", spanned | {"candles": f"gold_ohlcv_{market.frame}_exact"})
        compared = compare(ours, theirs)
        return self._judged(market, compared, asked)

    def _judged(self, market: Market, compared: pa.Table, asked: dict[str, Any]) -> pa.Table:
        length = timedelta(seconds=market.seconds)
        starts = differing_windows(compared)
        span = asked | {"start": asked["start"] - length, "end": asked["end"] + length}
        near = sorted({int(one.timestamp()) + step * market.seconds for one in starts for step in (-1, 0, 1)})
        trades = {"counted": list(COUNTED), "windows": near, "seconds": market.seconds}
        until = self._table("until", asked)["until"][0].as_py() if starts else None
        return judge(
            compared,
            self._table("trades", span | trades),
            self._table("gaps", span),
            self._table("letters", span | {"own_names": list(market.own_names)}),
            length,
            until if until and until > asked["start"] else None,
        )

    def _write(self, market: Market, verdicts: pa.Table) -> None:
        count, now = verdicts.num_rows, datetime.now(UTC)
        texts = {name: pa.array([getattr(market, name)] * count) for name in ("exchange", "symbol", "frame")}
        rows = pa.table({**texts, **{name: verdicts[name] for name in verdicts.column_names}})
        rows = rows.append_column("checked_at", pa.array([now] * count, pa.timestamp("us", "UTC")))
        token = f"{market.exchange}/{market.symbol}/{market.frame}/{verdicts['window_start'][0]}/{now.isoformat()}"
        self._store.insert_rows(_TABLE, rows, token)

    def _table(self, name: str, parameters: Mapping[str, Any]) -> pa.Table:
        return self._store.table(_statement(name), parameters)


def summary(reports: Collection[MarketReport]) -> dict[str, int]:
    """Windows by cause over all markets, `equal` first."""
    causes = sum((one.causes for one in reports), Counter[str]())
    return {_EQUAL: sum(one.equal for one in reports), **dict(causes.most_common())}


def _count(report: MarketReport, verdicts: pa.Table) -> None:
    for row in verdicts.to_pylist():
        report.windows += 1
        report.cells += row["compared"]
        if row["result"] == _EQUAL:
            report.equal += 1
        else:
            report.causes[row["cause"]] += 1
            report.findings.append(row)


def _days(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    while start < end:
        midnight = start.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        yield start, min(midnight, end)
        start = midnight


def _end_of(times: pa.ChunkedArray, market: Market) -> datetime:
    newest: datetime = pa.compute.max(times).as_py()
    return newest + timedelta(seconds=market.seconds)


@cache
def _statement(name: str) -> str:
    return (_SQL / f"{name}.sql").read_text(encoding="utf-8")
