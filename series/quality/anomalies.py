"""Finds what looks wrong without the venue's bars: stale series, missing rows, odd prices, duplicates that differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from config.registry import SymbolRegistry, own_names
from config.settings import Settings
from series.declaration import load_series
from series.store import SeriesStore

# The largest ones of each kind are found; what lies behind them has the same causes.
MOST = 1_000
_SQL = Path(__file__).with_name("sql") / "anomalies"
_TABLE = "quality_anomalies_log"
_DAY_S = 86_400


class Kind(StrEnum):
    """The kinds, each a statement of `sql/anomalies/`."""

    STALE_SERIES = "stale_series"
    MISSING_ROWS = "missing_rows"
    PRICE_OFF = "price_off"
    JUMP = "jump"
    CONTRADICTING_DUPLICATES = "contradicting_duplicates"


MEANINGS: Mapping[Kind, str] = {
    Kind.STALE_SERIES: "nothing new of a series has come for longer than MEDALLION_QUALITY_STALE_HOURS",
    Kind.MISSING_ROWS: "a day between the first and the last stored one lacks rows",
    Kind.PRICE_OFF: "a minute closed further from the other venues' median than MEDALLION_QUALITY_PRICE_OFF_PERCENT",
    Kind.JUMP: "a minute closed further from the one before than MEDALLION_QUALITY_JUMP_PERCENT",
    Kind.CONTRADICTING_DUPLICATES: "trades came again with another content, and wait as dead letters",
}


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One of them. `at`: the window, day or newest row (UTC). `value`, `bound`: hours, rows, per cent or trades."""

    kind: str
    series: str
    exchange: str
    symbol: str
    frame: str
    at: datetime
    value: float
    bound: float
    detail: str

    @property
    def key(self) -> tuple[object, ...]:
        """What two checks of the same thing share."""
        return self.kind, self.series, self.exchange, self.symbol, self.frame, self.at


class AnomalyCheck:
    """Looks for anomalies and keeps them in quality_anomalies."""

    def __init__(self, store: SeriesStore, registry: SymbolRegistry, settings: Settings) -> None:
        """`registry`: canonical symbols and halted markets. `settings`: the bounds."""
        self._store = store
        self._registry = registry
        self._bounds: dict[Kind, float] = {
            Kind.STALE_SERIES: settings.quality_stale_hours,
            Kind.MISSING_ROWS: 0,
            Kind.PRICE_OFF: settings.quality_price_off_percent,
            Kind.JUMP: settings.quality_jump_percent,
            Kind.CONTRADICTING_DUPLICATES: 0,
        }

    def run(self, start: datetime, end: datetime, exchange: str = "", symbol: str = "") -> list[Anomaly]:
        """The anomalies of [start, end) (UTC), and the series that are stale at `end`; the largest of a kind first.

        What was open in this span and is no longer found is stored as not open. At most `MOST` of a kind are found.

        Args:
            start: of the span.
            end: of the span.
            exchange: only this exchange-and-market code; "": all.
            symbol: only this symbol; "": all.

        Raises:
            StoreError: ClickHouse is away.
        """
        all_found = {kind: self._of_kind(kind, start, end) for kind in Kind}
        found = [one for ones in all_found.values() for one in ones if _is_asked(one, exchange, symbol)]
        before = [Anomaly(**row) for row in self._rows("open", {"start": start, "end": end})]
        there = {one.key for one in found}
        # Of a kind that was cut off, nobody knows what has gone.
        whole = {kind.value for kind, ones in all_found.items() if len(ones) < MOST}
        gone = [
            one for one in before if one.key not in there and one.kind in whole and _is_asked(one, exchange, symbol)
        ]
        self._write(found, gone)
        return found

    def _of_kind(self, kind: Kind, start: datetime, end: datetime) -> list[Anomaly]:
        bound = self._bounds[kind]
        asked: dict[str, Any] = {"start": start, "end": end, "bound": bound, "most": MOST}
        if kind is Kind.MISSING_ROWS:
            asked |= _days()
        rows = self._rows(kind, asked)
        found = [Anomaly(kind=kind.value, bound=bound, **row) for row in rows]
        if kind is Kind.STALE_SERIES:
            return [one for one in found if not self._is_halted(one, end)]
        if kind is Kind.CONTRADICTING_DUPLICATES:
            return [replace(one, symbol=self._canonical(one)) for one in found]
        return found

    def _is_halted(self, one: Anomaly, now: datetime) -> bool:
        entries = self._registry.content.exchanges.get(one.exchange, {})
        ends = [entry.halted_on or entry.delisted_on for entry in entries.values() if entry.canonical == one.symbol]
        return any(end is not None and end <= now.date() for end in ends)

    def _canonical(self, one: Anomaly) -> str:
        """The canonical symbol of a dead letter's market; the exchange's own where the registry has none."""
        for name, entry in self._registry.content.exchanges.get(one.exchange, {}).items():
            if one.symbol in own_names({name: entry}):
                return entry.canonical
        return one.symbol

    def _write(self, found: Sequence[Anomaly], gone: Sequence[Anomaly]) -> None:
        if not found and not gone:
            return
        now = datetime.now(UTC)
        rows = [asdict(one) | {"is_open": True, "checked_at": now} for one in found]
        rows += [asdict(one) | {"is_open": False, "checked_at": now} for one in gone]
        self._store.insert_rows(_TABLE, pa.Table.from_pylist(rows), f"anomalies/{now.isoformat()}")

    def _rows(self, name: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._store.table(_statement(name), parameters).to_pylist()
        return rows


def by_kind(found: Sequence[Anomaly]) -> dict[str, int]:
    """How many of each kind there are, all kinds included."""
    count = Counter(one.kind for one in found)
    return {kind.value: count[kind.value] for kind in Kind}


def _days() -> dict[str, list[Any]]:
    """How many periods a day has by frame, and which exchanges are closed at times: as the series are declared."""
    declared = load_series()
    periods = {name: _DAY_S // seconds for one in declared for name, seconds in one.frames.items()}
    return {
        "frames": [*periods],
        "periods": [*periods.values()],
        "in_sessions": [exchange for one in declared for exchange in one.in_sessions],
    }


def _is_asked(one: Anomaly, exchange: str, symbol: str) -> bool:
    return exchange in {"", one.exchange} and symbol in {"", one.symbol}


@cache
def _statement(name: str) -> str:
    return (_SQL / f"{name}.sql").read_text(encoding="utf-8")
