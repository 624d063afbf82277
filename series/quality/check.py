"""Checks the candles of whole markets: both sides of a day are read and judged, the verdicts go to quality_checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from config.registry import SymbolRegistry, own_names
from schemas.kinds import COUNTED
from series.declaration import series_named
from series.quality.causes import Cause
from series.quality.compare import EQUAL, compare
from series.quality.verdicts import differing_windows, judge
from series.store import SeriesStore

_SQL = Path(__file__).with_name("sql")
_TABLE = "quality_checks_log"


@dataclass(frozen=True, slots=True)
class Market:
    """A market whose bars of one frame are stored.

    `seconds`: length of a bar. `bars_end`: end (UTC) of the newest bar that was over. `own_names`: the exchange's own.
    """

    exchange: str
    symbol: str
    frame: str
    seconds: int
    bars_end: datetime
    own_names: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As `binance BTCUSDT 1m`."""
        return f"{self.exchange} {self.symbol} {self.frame}"


@dataclass(slots=True)
class MarketReport:
    """What was compared of a market. `causes`: windows by cause. `findings`: every window that is not equal.

    `checked_until`: end (UTC) of the windows that need no other check: of the newest bar that was compared, or the
    start of the first window that is `late`. None: nothing was compared.
    """

    exchange: str
    symbol: str
    frame: str
    windows: int = 0
    equal: int = 0
    cells: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, Any]] = field(default_factory=list)
    checked_until: datetime | None = None


class QualityCheck:
    """Compares day by day, so that memory does not grow with the span."""

    def __init__(self, store: SeriesStore) -> None:
        """`store`: where both sides are."""
        self._store = store

    def run(self, market: Market, start: datetime, end: datetime, progress: Callable[[], None]) -> MarketReport:
        """Compare the windows of [start, end) (UTC) that are over and of which the venue's bars are stored.

        `progress` is called after each day; what it raises ends the check, the days before stay.

        Raises:
            StoreError: ClickHouse is away.
        """
        report = MarketReport(market.exchange, market.symbol, market.frame)
        for day_start, day_end in _days(start, end):
            verdicts = self._of_day(market, day_start, day_end)
            if verdicts is not None:
                self._write(market, verdicts)
                _count(report, verdicts, market)
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


def stored_markets(store: SeriesStore, registry: SymbolRegistry, frame: str, seconds: int) -> list[Market]:
    """The markets of which bars of the frame are stored, and trades come in, by exchange and symbol.

    `seconds`: length of a bar.

    Raises:
        StoreError: ClickHouse is away.
    """
    found: list[Market] = []
    bars = series_named("bars")
    for row in store.rows("stored", {}):
        if (row["series"], row["frame"]) != (bars.name, frame) or row["exchange"] in bars.in_sessions:
            continue
        entries = registry.content.exchanges.get(row["exchange"], {})
        ours = {name: entry for name, entry in entries.items() if entry.canonical == row["symbol"]}
        end = row["newest_time"] + timedelta(seconds=seconds)
        found.append(Market(row["exchange"], row["symbol"], frame, seconds, end, tuple(sorted(own_names(ours)))))
    return found


def yesterday(now: datetime) -> datetime:
    """Where a check begins that is not told: the midnight (UTC) before the last one."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)


def summary(reports: Collection[MarketReport]) -> dict[str, int]:
    """Windows by cause over all markets, `equal` first."""
    causes = sum((one.causes for one in reports), Counter[str]())
    return {EQUAL: sum(one.equal for one in reports), **dict(causes.most_common())}


def _count(report: MarketReport, verdicts: pa.Table, market: Market) -> None:
    rows = verdicts.to_pylist()
    if Cause.LATE not in report.causes:
        report.checked_until = _checked_until(rows, market)
    for row in rows:
        report.windows += 1
        report.cells += row["compared"]
        if row["result"] == EQUAL:
            report.equal += 1
        else:
            report.causes[row["cause"]] += 1
            report.findings.append(row)


def _checked_until(rows: Sequence[Mapping[str, Any]], market: Market) -> datetime:
    late = (row["window_start"] for row in rows if row["cause"] == Cause.LATE)
    newest: datetime = rows[-1]["window_start"]
    return next(late, newest + timedelta(seconds=market.seconds))


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
