"""The sources of the counting proof: the hot tables and, for hours that are no longer hot, Iceberg."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pyiceberg.table import Table

from config.valid_times import EARLIEST_US, END_US
from offload.clickhouse.checksums import cold_sources
from offload.clickhouse.client import HotStore
from offload.clickhouse.server import arrival_hours
from offload.clickhouse.templates import render
from offload.files.export import select_of
from offload.files.paths import file_paths
from offload.tables.cold_tables import BY_NAME, ColdTable
from offload.tables.slice_records import read_ledger
from offload.tables.slices import HOUR_US, SECOND_US, Slice, parse_hour_id

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
    """Builds the queries of the counting proof. Which tier has each hour is read once.

    `tables`: cold tables by name; without them only hot rows count.
    """

    hot: HotStore
    tables: Mapping[str, Table] = field(default_factory=dict)

    def hours(self, from_us: int, to_us: int) -> dict[int, int]:
        """Messages of Raw by hour of arrival (start, µs) in [from_us, to_us), in the tier that has more of them."""
        hot, cold = self._raw_hours, self._cold_hours(_RAW)
        return {
            start: max(hot.get(start, 0), cold.get(start, 0))
            for start in sorted(hot.keys() | cold.keys())
            if start < to_us and start + HOUR_US > from_us
        }

    def first_hot_us(self) -> int:
        """The first arrival hour of hot Raw (µs), or `END_US` if hot Raw is empty."""
        return min(self._raw_hours, default=END_US)

    def query(self, from_us: int, to_us: int) -> ProofQuery:
        """The query for messages that arrived in [from_us, to_us): their Raw rows, and the tables where they may end.

        Raises:
            HotStoreError: ClickHouse failed.
            WarehouseError: ClickHouse cannot read this kind of warehouse.
        """
        span = self._published(from_us, to_us)
        published = Slice(span["published_from_ms"] * _MS, span["published_to_ms"] * _MS + 1)
        gone = self._cold_only[_RAW.name]
        cold = {_RAW.name: self._sources(_RAW, published, "published_at") if gone else []}
        for end in _ENDS:
            # A message reaches these tables after it was published.
            is_needed = any(start + HOUR_US > published.from_us for start in self._cold_only[end.name])
            cold[end.name] = self._sources(end, published, "published_at") if is_needed else []
        hot_hours = self._raw_hours.keys()
        context = {
            "cold": cold,
            "raw_in_cold": [start // SECOND_US for start in sorted(gone & hot_hours)],
            "raw_in_hot": [start // SECOND_US for start in sorted(hot_hours - gone)],
        }
        return ProofQuery(context, {**span, "from_us": from_us, "to_us": to_us})

    def _published(self, from_us: int, to_us: int) -> dict[str, int]:
        """Parameters with Kafka times (ms) between which all messages are that arrived in [from_us, to_us)."""
        is_cold = any(from_us < start + HOUR_US and start < to_us for start in self._cold_only[_RAW.name])
        cold = self._sources(_RAW, Slice(from_us, to_us), _RAW.arrival) if is_cold else []
        row = self.hot.rows(render("published_span.sql", cold=cold), {"from_us": from_us, "to_us": to_us})[0]
        # Raw may lack the first or the last message of the span.
        return {
            "published_from_ms": min(int(row["first_ms"]), from_us // _MS),
            "published_to_ms": max(int(row["last_ms"]), min(to_us, END_US - 1) // _MS),
        }

    def _sources(self, cold: ColdTable, span: Slice, column: str) -> list[str]:
        """SQL of the live files that may have rows whose time `column` is in the span."""
        table = self.tables[cold.name]
        paths = file_paths(table, span.between(column))
        select = select_of(cold, partition=False)
        times = {"from_us": span.from_us, "to_us": span.to_us}
        return cold_sources(self.hot, table, paths, select, times)

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
        in_cold = {cold.hot: self._cold_hours(cold) for cold in (_RAW, *_ENDS)}
        ends = [cold for cold in _ENDS if in_cold[cold.hot]]
        in_hot = {_RAW.hot: self._raw_hours if in_cold[_RAW.hot] else {}}
        if ends:
            in_hot |= arrival_hours(self.hot, ends, min(min(in_cold[cold.hot]) for cold in ends), END_US)
        return {
            cold.name: frozenset(at for at, rows in in_cold[cold.hot].items() if in_hot[cold.hot].get(at, 0) < rows)
            for cold in (_RAW, *_ENDS)
        }
