"""Finds anomalies, for which no bar of the venue is needed: stale series, missing rows, odd prices and others."""

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

# The check reports so many of each kind, the largest first. More of a kind have the same cause.
MOST = 1_000
_SQL = Path(__file__).with_name("sql") / "anomalies"
_TABLE = "quality_anomalies_log"
_DAY_S = 86_400


class Kind(StrEnum):
    """The kinds of anomaly. `sql/anomalies/<kind>.sql` finds each."""

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
    """One anomaly.

    `at`: start of the window or day, or time of the newest row (UTC). `value` exceeds `bound`; the kind says in which
    unit: hours, rows, per cent or trades.
    """

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
        """Identifies the anomaly in successive checks."""
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
        """Find and store the anomalies of [start, end) (UTC), and the series that are stale at `end`.

        At most `MOST` of a kind are found. An anomaly of the span that was open and is no longer found is stored as not
        open.

        Args:
            start: of the span.
            end: of the span.
            exchange: only this exchange-and-market code; "": all.
            symbol: only this symbol; "": all.

        Returns:
            By kind, the largest of a kind first.

        Raises:
            StoreError: ClickHouse is away.
        """
        of_kind = {kind: self._of_kind(kind, start, end) for kind in Kind}
        found = [
            anomaly
            for anomalies in of_kind.values()
            for anomaly in anomalies
            if _is_selected(anomaly, exchange, symbol)
        ]
        open_before = [Anomaly(**row) for row in self._rows("open", {"start": start, "end": end})]
        found_keys = {anomaly.key for anomaly in found}
        # Of a kind that was cut off at `MOST`, an open anomaly that was not found may still exist.
        complete_kinds = {kind.value for kind, anomalies in of_kind.items() if len(anomalies) < MOST}
        closed = [
            anomaly
            for anomaly in open_before
            if anomaly.key not in found_keys
            and anomaly.kind in complete_kinds
            and _is_selected(anomaly, exchange, symbol)
        ]
        self._write(found, closed)
        return found

    def _of_kind(self, kind: Kind, start: datetime, end: datetime) -> list[Anomaly]:
        bound = self._bounds[kind]
        parameters: dict[str, Any] = {"start": start, "end": end, "bound": bound, "most": MOST}
        if kind is Kind.MISSING_ROWS:
            parameters |= _periods()
        rows = self._rows(kind, parameters)
        anomalies = [Anomaly(kind=kind.value, bound=bound, **row) for row in rows]
        if kind is Kind.STALE_SERIES:
            return [anomaly for anomaly in anomalies if not self._is_halted(anomaly, end)]
        if kind is Kind.CONTRADICTING_DUPLICATES:
            return [replace(anomaly, symbol=self._canonical(anomaly)) for anomaly in anomalies]
        return anomalies

    def _is_halted(self, anomaly: Anomaly, now: datetime) -> bool:
        entries = self._registry.content.exchanges.get(anomaly.exchange, {})
        ends = [entry.halted_on or entry.delisted_on for entry in entries.values() if entry.canonical == anomaly.symbol]
        return any(end is not None and end <= now.date() for end in ends)

    def _canonical(self, anomaly: Anomaly) -> str:
        """The canonical symbol of a dead letter's market; the exchange's own if the registry has none."""
        for name, entry in self._registry.content.exchanges.get(anomaly.exchange, {}).items():
            if anomaly.symbol in own_names({name: entry}):
                return entry.canonical
        return anomaly.symbol

    def _write(self, found: Sequence[Anomaly], closed: Sequence[Anomaly]) -> None:
        if not found and not closed:
            return
        now = datetime.now(UTC)
        rows = [asdict(anomaly) | {"is_open": True, "checked_at": now} for anomaly in found]
        rows += [asdict(anomaly) | {"is_open": False, "checked_at": now} for anomaly in closed]
        self._store.insert_rows(_TABLE, pa.Table.from_pylist(rows), f"anomalies/{now.isoformat()}")

    def _rows(self, name: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._store.table(_statement(name), parameters).to_pylist()
        return rows


def by_kind(found: Sequence[Anomaly]) -> dict[str, int]:
    """The number of anomalies of each kind; 0 for a kind without any."""
    count = Counter(anomaly.kind for anomaly in found)
    return {kind.value: count[kind.value] for kind in Kind}


def _periods() -> dict[str, list[Any]]:
    """The number of periods of a day by frame, and the exchanges that are closed at times, from the declarations."""
    declared = load_series()
    periods = {frame: _DAY_S // seconds for series in declared for frame, seconds in series.frames.items()}
    return {
        "frames": [*periods],
        "periods": [*periods.values()],
        "in_sessions": [exchange for series in declared for exchange in series.in_sessions],
    }


def _is_selected(anomaly: Anomaly, exchange: str, symbol: str) -> bool:
    return exchange in {"", anomaly.exchange} and symbol in {"", anomaly.symbol}


@cache
def _statement(name: str) -> str:
    return (_SQL / f"{name}.sql").read_text(encoding="utf-8")
