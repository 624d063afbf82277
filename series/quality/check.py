"""Compares the candles of a market with the venue's bars, day by day, and stores the verdicts in quality_checks."""

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
from series.quality.verdicts import differing_windows, verdicts_of
from series.store import SeriesStore

_SQL = Path(__file__).with_name("sql")
_TABLE = "quality_checks_log"


@dataclass(frozen=True, slots=True)
class Market:
    """A market whose bars of one frame are stored.

    `seconds`: length of a bar. `bars_end`: end (UTC) of the newest bar that was over. `own_names`: the exchange's own
    symbols of the market.
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
    """The result of a check of one market. `causes`: windows by cause. `findings`: every window that is not equal.

    `checked_until` (UTC): the end of the newest bar that was compared, or the start of the first window that is `late`.
    Windows before it need no other check. None: nothing was compared.
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
        """`store`: has candles and bars."""
        self._store = store

    def run(self, market: Market, start: datetime, end: datetime, progress: Callable[[], None]) -> MarketReport:
        """Compare the windows of [start, end) (UTC) whose bars were over and are stored.

        `progress` is called after each day. An exception that it raises ends the check; stored verdicts stay.

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
        day: dict[str, Any] = {"exchange": market.exchange, "symbol": market.symbol, "start": start, "end": end}
        theirs = self._table("theirs", day | {"frame": market.frame})
        if not theirs.num_rows:
            return None
        times = theirs["window_start"]
        # A bar that the venue has not published yet is not missing.
        published = day | {"start": pa.compute.min(times).as_py(), "end": _end_of(times, market)}
        ours = self._table("ours", published | {"candles": f"gold_ohlcv_{market.frame}_exact"})
        return self._verdicts(market, compare(ours, theirs), day)

    def _verdicts(self, market: Market, compared: pa.Table, day: dict[str, Any]) -> pa.Table:
        length = timedelta(seconds=market.seconds)
        starts = differing_windows(compared)
        span = day | {"start": day["start"] - length, "end": day["end"] + length}
        windows = sorted({int(start.timestamp()) + step * market.seconds for start in starts for step in (-1, 0, 1)})
        trades = {"counted": list(COUNTED), "windows": windows, "seconds": market.seconds}
        until = self._table("until", day)["until"][0].as_py() if starts else None
        return verdicts_of(
            compared,
            self._table("trades", span | trades),
            self._table("gaps", span),
            self._table("dead_letters", span | {"own_names": list(market.own_names)}),
            length,
            until if until and until > day["start"] else None,
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
    """The markets whose bars of the frame are stored, by exchange and symbol. Shares are left out: they have no trades.

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
    """The start of yesterday (UTC), where a check begins by default."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)


def summary(reports: Collection[MarketReport]) -> dict[str, int]:
    """Windows by cause over all markets, `equal` first."""
    causes = sum((report.causes for report in reports), Counter[str]())
    return {EQUAL: sum(report.equal for report in reports), **dict(causes.most_common())}


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
