"""The counting proof of invariant 1: raw = silver + duplicates + dlq, by exchange, symbol and hour of arrival."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict
from pyiceberg.table import Table

from offload.clickhouse.client import HotStore
from offload.clickhouse.templates import render
from offload.proof.sources import LATEST_US, ProofSources
from offload.tables.slices import instant, micros

# Messages whose coordinates are grouped in one query.
CHUNK_ROWS = 2_000_000


class LineageCount(BaseModel):
    """Raw messages of one exchange, symbol (both as the message says) and hour (UTC) of first arrival.

    A message is known by its raw coordinates; `redelivered` counts the further deliveries of messages that Kafka
    delivered more than once, which `raw` does not. `silver`, `duplicates` and `dlq` are the messages found there,
    `contradicting` those of the dead letters that contradict Silver's version of their trade, `missing` those found
    nowhere, `in_several` those found more than once, in one place or in several.
    """

    model_config = ConfigDict(frozen=True)

    exchange: str
    symbol: str
    hour: datetime
    raw: int
    silver: int
    duplicates: int
    dlq: int
    contradicting: int
    missing: int
    in_several: int
    redelivered: int

    @property
    def holds(self) -> bool:
        """Whether every message of the group is in exactly one place."""
        return self.missing == 0 and self.in_several == 0


class LostMessage(BaseModel):
    """A raw message that is in none of Silver, duplicates and DLQ; `published_at` in UTC."""

    model_config = ConfigDict(frozen=True)

    raw_topic: str
    raw_partition: int
    raw_offset: int
    published_at: datetime
    exchange: str
    symbol: str
    trade_id: str


def stream_lineage(
    hot: HotStore,
    start: datetime | None = None,
    end: datetime | None = None,
    chunk_rows: int = CHUNK_ROWS,
    tables: Mapping[str, Table] | None = None,
) -> Iterator[LineageCount]:
    """The same as `count_lineage`, some hours at a time: neither side's memory grows with the span.

    A chunk is as many hours as hold `chunk_rows` messages, at least one. With `tables` (the cold ones, by name) hours
    that the hot tables have let go are counted in Iceberg; without `start`, from the first hour of hot Raw.

    Raises:
        HotStoreError: ClickHouse failed.
        WarehouseError: ClickHouse cannot read the warehouse.
        ValueError: a time without a zone.
    """
    sources = ProofSources(hot, tables or {})
    first, last = _span(sources, start, end)
    rows, began = 0, first
    for hour_us, count in sources.hours(first, last).items():
        if rows and rows + count > chunk_rows:
            yield from _count(sources, began, hour_us)
            rows, began = 0, hour_us
        rows += count
    if rows:
        yield from _count(sources, began, last)


def count_lineage(hot: HotStore, start: datetime | None = None, end: datetime | None = None) -> list[LineageCount]:
    """Count the messages that first arrived in [start, end) (aware times; default: all that Raw still holds).

    Raises:
        HotStoreError: ClickHouse failed.
        ValueError: a time without a zone.
    """
    return list(stream_lineage(hot, start, end))


def find_missing(
    hot: HotStore,
    start: datetime | None = None,
    end: datetime | None = None,
    *,
    at_most: int = 100,
    tables: Mapping[str, Table] | None = None,
) -> list[LostMessage]:
    """Name messages of [start, end) that `stream_lineage` counts as missing, `at_most` of them.

    Raises:
        HotStoreError: ClickHouse failed.
        WarehouseError: ClickHouse cannot read the warehouse.
        ValueError: a time without a zone.
    """
    sources = ProofSources(hot, tables or {})
    places = sources.places(*_span(sources, start, end))
    rows = hot.rows(render("missing_messages.sql", **places.context), {**places.span, "at_most": at_most})
    return [
        LostMessage(
            raw_topic=row["raw_topic"],
            raw_partition=row["raw_partition"],
            raw_offset=row["raw_offset"],
            published_at=instant(int(row["published_ms"]) * 1000),
            exchange=row["raw_exchange"],
            symbol=row["raw_symbol"],
            trade_id=row["raw_trade_id"],
        )
        for row in rows
    ]


def _count(sources: ProofSources, from_us: int, to_us: int) -> Iterator[LineageCount]:
    places = sources.places(from_us, to_us)
    for row in sources.hot.rows(render("count_messages.sql", **places.context), places.span):
        yield LineageCount(hour=instant(int(row.pop("hour_us"))), **row)


def _span(sources: ProofSources, start: datetime | None, end: datetime | None) -> tuple[int, int]:
    return micros(start) if start else min(sources.first_hot_us(), LATEST_US - 1), micros(end) if end else LATEST_US
