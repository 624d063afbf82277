"""Finds the hot rows that a comparison leaves out: those that came after the offload, and those not offloaded yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from config.valid_times import END_US
from offload.clickhouse.client import HotStore
from offload.clickhouse.server import arrival_hours
from offload.clickhouse.templates import render
from offload.files.export import select_of
from offload.tables.cold_tables import ColdTable
from offload.tables.slice_records import SliceRecord, read_ledger, read_silver_windows
from offload.tables.slices import Slice, hour


class NotCompared(BaseModel):
    """Hot rows that were not compared.

    `hot_rows`: their number; for Gold the number of candles, or of an hour's rows of Silver that Gold lacks.

    `grown`: rows came to the slice after it was offloaded. `open`: the candles have not ended. `not offloaded`: Iceberg
    does not have the hour.
    """

    model_config = ConfigDict(frozen=True)

    slice: str
    hot_rows: int
    why: Literal["grown", "open", "not offloaded"]


@dataclass(frozen=True)
class ComparisonGaps:
    """Finds the hot rows that a comparison of one cold table leaves out; `properties` are the table's."""

    hot: HotStore
    cold: ColdTable
    properties: Mapping[str, str]

    def grown(self, part: Slice, record: SliceRecord) -> NotCompared | None:
        """The slice, if the hot tier has more rows of it than were offloaded.

        Raises:
            HotStoreError: ClickHouse failed.
        """
        rows, measure = self._measure(part, record.until_us)
        return NotCompared(slice=part.id, hot_rows=rows, why="grown") if measure > record.measure else None

    def open_candles(self, part: Slice, record: SliceRecord) -> NotCompared | None:
        """Candles of a Gold slice that had not ended when it was offloaded.

        Raises:
            HotStoreError: ClickHouse failed.
        """
        if self.cold.arrival:
            return None
        rows = self._measure(part, END_US)[0] - self._measure(part, record.until_us)[0]
        return NotCompared(slice=part.id, hot_rows=rows, why="open") if rows > 0 else None

    def candle_trades(self, part: Slice) -> int:
        """The trades in the hot candles of a Gold slice.

        Raises:
            HotStoreError: ClickHouse failed.
        """
        return self._measure(part, END_US)[1]

    def not_offloaded(self, hot_hours: Mapping[int, int]) -> Iterator[NotCompared]:
        """The arrival hours that the cold table lacks. `hot_hours`: start in µs -> rows; for Gold those of Silver."""
        offloaded = (
            read_ledger(self.properties).keys() if self.cold.arrival else set(read_silver_windows(self.properties))
        )
        for start, rows in hot_hours.items():
            if hour(start).id not in offloaded:
                yield NotCompared(slice=hour(start).id, hot_rows=rows, why="not offloaded")

    def _measure(self, part: Slice, until_us: int) -> tuple[int, int]:
        """Hot rows of a slice, and the number that its record measures: rows, for Gold the trades in the candles."""
        if self.cold.arrival:
            hours = arrival_hours(self.hot, [self.cold], part.from_us, part.to_us)[self.cold.hot]
            rows = hours.get(part.from_us, 0)
            return rows, rows
        sql = render("count_candles.sql", select=select_of(self.cold, partition=True))
        span: dict[str, str | int] = {"from_us": part.from_us, "to_us": part.to_us, "until_us": until_us}
        counts = self.hot.rows(sql, {**span, "key": part.key})[0]
        return int(counts["hot_rows"]), int(counts["trades"])
