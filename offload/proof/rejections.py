"""The rejections of one trade, open and resolved, hot and cold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict
from pyiceberg.expressions import And, BooleanExpression, Or

from offload.clickhouse.client import HotStore
from offload.clickhouse.templates import render
from offload.proof.cold_rows import ColdRows, equals, of_trade, one_of, readable

Coordinates = tuple[str, int, int, datetime]
_RULE = ("reason", "field", "value", "rule", "limit", "rules_version", "rejected_at")


class Rejection(BaseModel):
    """One dead letter of the trade: what it broke, and what became of its message.

    `landed`: `silver` or `duplicates` once the message came through all the same, else "". `sent_at`: when it was sent
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
        wanted = Or(wanted, _of_message(topic, partition, offset))
    letters = [letter.row for letter in cold.find("dlq_trades", wanted)]
    # A topic that was made anew gives its offsets again: only the Kafka time tells such messages apart.
    letters = [row for row in letters if row["trade_id"] == trade_id or _place(*_coordinates(row)) in places]
    found: dict[tuple[Coordinates, str], dict[str, Any]] = {}
    # What both tiers have is shown as the hot table has it.
    for row in (*rows, *letters):
        if row["reason"]:
            found.setdefault((_coordinates(row), row["reason"]), row)
    notes = _resolutions(hot, {place for place, _ in found})
    made = [
        Rejection(coordinates=place, **{name: row[name] for name in _RULE}, **notes.get(_place(*place), {}))
        for (place, _), row in found.items()
    ]
    return sorted(made, key=lambda one: one.rejected_at)


def _resolutions(hot: HotStore, places: Iterable[Coordinates]) -> dict[str, dict[str, Any]]:
    asked = sorted(_place(*place) for place in places)
    if not asked:
        return {}
    found = hot.rows(render("trace_resolutions.sql"), {"places": asked})
    return {row.pop("place"): readable(row) for row in found}


def _of_message(topic: str, partition: int, offset: int) -> BooleanExpression:
    return And(equals("raw_topic", topic), equals("raw_partition", partition), one_of("raw_offset", [offset]))


def _coordinates(row: Mapping[str, Any]) -> Coordinates:
    return str(row["raw_topic"]), int(row["raw_partition"]), int(row["raw_offset"]), row["published_at"]


def _place(topic: str, partition: int, offset: int, published_at: datetime) -> str:
    """One message as a text, the same as in `trace_rejections.sql`."""
    return f"{topic}[{partition}]@{offset} {round(published_at.timestamp() * 1000)}"
