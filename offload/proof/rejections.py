"""Finds the rejections of one trade, open and resolved, hot and cold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict
from pyiceberg.expressions import Or

from offload.clickhouse.client import HotStore
from offload.clickhouse.templates import render
from offload.proof.cold_rows import ColdRows, of_message, of_trade, readable

Coordinates = tuple[str, int, int, datetime]
_RULE = ("reason", "field", "value", "rule", "limit", "rules_version", "rejected_at")


class Rejection(BaseModel):
    """One dead letter of the trade: the rule that it broke, and where its message is now.

    `landed`: `silver` or `duplicates` if the message got there later, else "". `sent_at`: when the message was sent
    again.
    """

    model_config = ConfigDict(frozen=True)

    coordinates: Coordinates
    reason: str
    field: str
    value: str
    rule: str
    limit: str
    rules_version: str
    rejected_at: datetime
    landed: str = ""
    sent_at: datetime | None = None


def find_rejections(
    hot: HotStore, cold: ColdRows, exchange: str, symbols: list[str], trade_id: str, messages: Iterable[Coordinates]
) -> list[Rejection]:
    """The rejections of a trade, the first one first.

    `messages`: raw messages known to be of the trade. A message that Bronze could not read has a dead letter without a
    trade id.

    Raises:
        OffloadError: ClickHouse or the warehouse fails.
    """
    places = {_place(*message): message for message in messages}
    key: dict[str, str | int | list[str]] = {
        "exchange": exchange,
        "symbols": symbols,
        "trade_id": trade_id,
        "places": sorted(places),
    }
    rows = [readable(row) for row in hot.rows(render("trace_rejections.sql"), key)]
    wanted = of_trade(exchange, symbols, trade_id)
    for topic, partition, offset, _ in places.values():
        wanted = Or(wanted, of_message(topic, partition, offset))
    dead_letters = [dead_letter.row for dead_letter in cold.find("dlq_trades", wanted)]
    # A topic that was created again repeats its offsets. Only the Kafka time tells such messages apart.
    dead_letters = [
        row for row in dead_letters if row["trade_id"] == trade_id or _place(*coordinates_of(row)) in places
    ]
    dead_letter_rows: dict[tuple[Coordinates, str], dict[str, Any]] = {}
    # A dead letter that is in both tiers is shown as the hot table has it.
    for row in (*rows, *dead_letters):
        if row["reason"]:
            dead_letter_rows.setdefault((coordinates_of(row), row["reason"]), row)
    notes = _resolutions(hot, {place for place, _ in dead_letter_rows})
    rejections = [
        Rejection(coordinates=place, **{name: row[name] for name in _RULE}, **notes.get(_place(*place), {}))
        for (place, _), row in dead_letter_rows.items()
    ]
    return sorted(rejections, key=lambda rejection: rejection.rejected_at)


def _resolutions(hot: HotStore, places: Iterable[Coordinates]) -> dict[str, dict[str, Any]]:
    texts = sorted(_place(*place) for place in places)
    if not texts:
        return {}
    rows = hot.rows(render("trace_resolutions.sql"), {"places": texts})
    return {row.pop("place"): readable(row) for row in rows}


def coordinates_of(row: Mapping[str, Any]) -> Coordinates:
    """The raw coordinates of a row of any layer: topic, partition, offset, Kafka time."""
    return str(row["raw_topic"]), int(row["raw_partition"]), int(row["raw_offset"]), row["published_at"]


def _place(topic: str, partition: int, offset: int, published_at: datetime) -> str:
    """Raw coordinates as one text, equal to that of `sql/_place.sql`."""
    return f"{topic}[{partition}]@{offset} {round(published_at.timestamp() * 1000)}"
