"""Where the counting proof reads rows: from the hot tables and, for hours that are no longer hot, from Iceberg."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pyiceberg.table import Table

from offload.clickhouse.checksums import KnownTypes, cold_sources
from offload.clickhouse.client import HotStore
from offload.clickhouse.server import arrival_hours
from offload.clickhouse.templates import render
from offload.files.export import select_of
from offload.tables.cold_tables import BY_NAME, ColdTable
from offload.tables.slice_records import read_ledger
from offload.tables.slices import HOUR_US, SECOND_US, Slice, parse_hour_id
from schemas.valid_times import EARLIEST_US, END_US

_RAW = BY_NAME["raw_trades"]
# The tables in which a message ends. A resolved dead letter is no longer in `dlq_trades`.
_ENDS = tuple(BY_NAME[name] for name in ("silver_trades", "duplicate_trades", "dlq_trades"))
_MS = 1000


@dataclass(frozen=True)
class ProofQuery:
    """Template variables and parameters of the proof's queries."""

    context: dict[str, Any]
    span: dict[str, int]


@dataclass(frozen=True)
class ProofSources:
    """`tables`: cold tables by name; without them only hot rows count. Reads once in which tier each hour is."""

    hot: HotStore
    tables: Mapping[str, Table] = field(default_factory=dict)
    _known: KnownTypes = field(default_factory=dict, init=False)

    def hours(self, from_us: int, to_us: int) -> dict[int, int]:
        """Messages of Raw by hour of arrival (start, µs) in [from_us, to_us), in the tier that has more of them."""
        here, there = self._raw_hours, self._cold_hours(_RAW)
        return {
            start: max(here.get(start, 0), there.get(start, 0))
            for start in sorted(here.keys() | there.keys())
            if start < to_us and start + HOUR_US > from_us
        }

    def first_hot_us(self) -> int:
        """The first arrival hour of hot Raw (µs), or `END_US` where it is empty."""
        return min(self._raw_hours, default=END_US)

    def query(self, from_us: int, to_us: int) -> ProofQuery:
        """The query for messages that arrived in [from_us, to_us): where they are, and where they may have ended.

        Raises:
            HotStoreError: ClickHouse failed.
            WarehouseError: ClickHouse cannot be pointed to the warehouse.
        """
        span = self._published(from_us, to_us)
        published = Slice(span["published_from_ms"] * _MS, span["published_to_ms"] * _MS + 1)
        gone = self._cold_only[_RAW.name]
        cold = {_RAW.name: self._sources(_RAW, published, "published_at") if gone else []}
        for end in _ENDS:
            # A message ends after it was published.
            is_needed = any(start + HOUR_US > published.from_us for start in self._cold_only[end.name])
            cold[end.name] = self._sources(end, published, "published_at") if is_needed else []
        here = self._raw_hours.keys()
        context = {
            "cold": cold,
            "raw_in_cold": [start // SECOND_US for start in sorted(gone & here)],
            "raw_in_hot": [start // SECOND_US for start in sorted(here - gone)],
        }
        return ProofQuery(context, {**span, "from_us": from_us, "to_us": to_us})

    def _published(self, from_us: int, to_us: int) -> dict[str, int]:
        is_cold = any(from_us < start + HOUR_US and start < to_us for start in self._cold_only[_RAW.name])
        cold = self._sources(_RAW, Slice(from_us, to_us), _RAW.arrival) if is_cold else []
        row = self.hot.rows(render("published_span.sql", cold=cold), {"from_us": from_us, "to_us": to_us})[0]
        return {"published_from_ms": int(row["first_ms"]), "published_to_ms": int(row["last_ms"])}

    def _sources(self, cold: ColdTable, span: Slice, column: str) -> list[str]:
        """SQL of the live files that may have rows whose time `column` is in the span."""
        table = self.tables[cold.name]
        paths = [task.file.file_path for task in table.scan(row_filter=span.between(column)).plan_files()]
        select = select_of(cold, partition=False)
        times = {"from_us": span.from_us, "to_us": span.to_us}
        return cold_sources(self.hot, table, paths, select, times, self._known)

    def _cold_hours(self, cold: ColdTable) -> dict[int, int]:
        """Rows of each hour of arrival in Iceberg."""
        properties = self.tables[cold.name].properties if self.tables else {}
        return {parse_hour_id(name).from_us: record.rows for name, record in read_ledger(properties).items()}

    @cached_property
    def _raw_hours(self) -> dict[int, int]:
        return arrival_hours(self.hot, [_RAW], EARLIEST_US, END_US)[_RAW.hot]

    @cached_property
    def _cold_only(self) -> dict[str, frozenset[int]]:
        """By table, the arrival hours of which Iceberg has more rows than the hot table."""
        there = {cold.hot: self._cold_hours(cold) for cold in (_RAW, *_ENDS)}
        ends = [cold for cold in _ENDS if there[cold.hot]]
        here = {_RAW.hot: self._raw_hours if there[_RAW.hot] else {}}
        if ends:
            here |= arrival_hours(self.hot, ends, min(min(there[cold.hot]) for cold in ends), END_US)
        return {
            cold.name: frozenset(at for at, rows in there[cold.hot].items() if here[cold.hot].get(at, 0) < rows)
            for cold in (_RAW, *_ENDS)
        }
