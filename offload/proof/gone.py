"""Finds messages that are gone: the broker deleted them before ClickHouse read them, so no layer can count them."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from offload.clickhouse.client import HotStore
from offload.clickhouse.templates import render
from offload.tables.slices import instant, micros
from schemas.valid_times import EARLIEST_US, END_US


class GoneMessages(BaseModel):
    """Offsets of a partition that Raw skipped.

    `messages`: how many of the offsets from `first_offset` to `last_offset` Raw lacks. `arrived_at`: when the message
    after them arrived (UTC). A Kafka message without content has no row in Raw, so it counts as gone. The producers
    send no such messages.
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
    span: dict[str, str | int | list[str]] = {
        "from_us": micros(start) if start else EARLIEST_US,
        "to_us": micros(end) if end else END_US,
        "at_most": at_most,
    }
    rows = hot.rows(render("gone_messages.sql"), span)
    return [GoneMessages(arrived_at=instant(int(row.pop("arrived_us"))), **row) for row in rows]
