"""Proofs by counting: raw = silver + duplicates + dlq by exchange, symbol and arrival hour.

This module also finds what the counts cannot show: matches that count twice, and messages that Raw never had.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict
from pyiceberg.table import Table

from config.valid_times import EARLIEST_US, END_US
from offload.clickhouse.client import HotStore
from offload.clickhouse.templates import render
from offload.proof.sources import ProofSources
from offload.tables.slices import instant, micros

# Messages whose coordinates are grouped in one query.
CHUNK_ROWS = 2_000_000


class LineageCount(BaseModel):
    """Raw messages of one exchange, symbol (both as the message says) and hour (UTC) of first arrival.

    A message is identified by its raw coordinates and counts once in `raw`; `redelivered` counts its further deliveries
    by Kafka. `silver`, `duplicates` and `dlq`: the messages found there. `contradicting`: dead letters that contradict
    Silver's version of their trade. `missing`: messages found nowhere. `in_several`: messages found more than once, in
    one place or in several. `not_in_raw`: messages of Silver, duplicates or DLQ that Raw does not have, by the symbol
    that these have; they count in no other number.
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
    not_in_raw: int

    @property
    def holds(self) -> bool:
        """Whether each message of the group is in Raw and in exactly one other place."""
        return self.missing == 0 and self.in_several == 0 and self.not_in_raw == 0


class LostMessage(BaseModel):
    """A raw message that is in no place after Raw, or in one of these and not in Raw; `published_at` in UTC."""

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
    """Count as `count_lineage` does, a few hours at a time, so that memory does not grow with the span.

    A chunk is as many hours as hold `chunk_rows` messages, at least one hour. With `tables` (cold tables by name) hours
    that are no longer hot are counted in Iceberg. Without `start` the count begins with the first hour of hot Raw.

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
    """Count the messages that first arrived in [start, end) (aware times; default: all of hot Raw).

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
    """Up to `at_most` of the messages of [start, end) that `stream_lineage` counts as missing.

    Raises:
        HotStoreError: ClickHouse failed.
        WarehouseError: ClickHouse cannot read the warehouse.
        ValueError: a time without a zone.
    """
    return _named("missing_messages.sql", hot, start, end, at_most, tables or {})


def find_not_in_raw(
    hot: HotStore,
    start: datetime | None = None,
    end: datetime | None = None,
    *,
    at_most: int = 100,
    tables: Mapping[str, Table] | None = None,
) -> list[LostMessage]:
    """Up to `at_most` of the messages of [start, end) that `stream_lineage` counts as not in Raw.

    Raises:
        HotStoreError, WarehouseError, ValueError: as `find_missing`.
    """
    return _named("messages_not_in_raw.sql", hot, start, end, at_most, tables or {})


def _named(
    template: str,
    hot: HotStore,
    start: datetime | None,
    end: datetime | None,
    at_most: int,
    tables: Mapping[str, Table],
) -> list[LostMessage]:
    sources = ProofSources(hot, tables)
    query = sources.query(*_span(sources, start, end))
    rows = hot.rows(render(template, **query.context), {**query.span, "at_most": at_most})
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


class Overlap(BaseModel):
    """The number of `trades` of one market whose matches another trade counts too, and the `trade_id` of the first."""

    model_config = ConfigDict(frozen=True)

    exchange: str
    symbol: str
    trades: int
    trade_id: str


def find_overlaps(hot: HotStore, start: datetime | None = None, end: datetime | None = None) -> list[Overlap]:
    """Markets of hot Silver whose volume counts twice, by event time in [start, end) (aware times; default: all).

    Trades overlap if they have the same id, or are sums of matches of which one is the same.

    Raises:
        HotStoreError: ClickHouse failed.
        ValueError: a time without a zone.
    """
    return [Overlap(**row) for row in hot.rows(render("silver_overlaps.sql"), _bounds(start, end))]


class GoneMessages(BaseModel):
    """Offsets of a partition that Raw skipped.

    The broker deleted them before ClickHouse read them. `messages`: how many of the offsets from `first_offset` to
    `last_offset` Raw lacks. `arrived_at`: when the message after them arrived (UTC). A Kafka message without content
    has no row in Raw, so it counts as gone. The producers send no such messages.
    """

    model_config = ConfigDict(frozen=True)

    raw_topic: str
    raw_partition: int
    first_offset: int
    last_offset: int
    messages: int
    arrived_at: datetime


def find_gone(
    hot: HotStore, start: datetime | None = None, end: datetime | None = None, *, at_most: int = 100
) -> list[GoneMessages]:
    """Up to `at_most` runs of offsets that hot Raw skipped, by arrival in [start, end) (aware; default: all).

    Raises:
        HotStoreError: ClickHouse failed.
        ValueError: a time without a zone.
    """
    rows = hot.rows(render("gone_messages.sql"), {**_bounds(start, end), "at_most": at_most})
    return [GoneMessages(arrived_at=instant(int(row.pop("arrived_us"))), **row) for row in rows]


def _bounds(start: datetime | None, end: datetime | None) -> dict[str, int]:
    """The parameters of a query of [start, end); without a bound it is that of all valid times."""
    return {
        "from_us": micros(start) if start else EARLIEST_US,
        "to_us": micros(end) if end else END_US,
    }


def _count(sources: ProofSources, from_us: int, to_us: int) -> Iterator[LineageCount]:
    query = sources.query(from_us, to_us)
    for row in sources.hot.rows(render("count_messages.sql", **query.context), query.span):
        yield LineageCount(hour=instant(int(row.pop("hour_us"))), **row)


def _span(sources: ProofSources, start: datetime | None, end: datetime | None) -> tuple[int, int]:
    return micros(start) if start else min(sources.first_hot_us(), END_US - 1), micros(end) if end else END_US
