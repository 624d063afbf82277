"""Compares the row of a trade, candle or series in each layer with its row in the layer before (pure)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Context, Decimal, InvalidOperation
from typing import Any

from pydantic import BaseModel, ConfigDict

from config.valid_times import EARLIEST_US, END_US
from series.declaration import Column, Series

Row = Mapping[str, Any]
CANDLE_NUMBERS = (
    *("open", "high", "low", "close", "volume", "quote_volume", "trade_count"),
    *("buy_volume", "sell_volume"),
)
_EXACT = Context(prec=200)
# Integers below these limits are seconds, milliseconds, microseconds; larger ones nanoseconds (the rule of Bronze).
_MAGNITUDES = ((10**11, 1_000_000, 1), (10**14, 1_000, 1), (10**17, 1, 1), (10**30, 1, 1_000))


class ValueChange(BaseModel):
    """A value that differs from the one in the layer before."""

    model_config = ConfigDict(frozen=True)

    layer: str
    field: str
    before: str
    after: str


def payload_to_raw(envelope: str, raw: Row) -> list[ValueChange]:
    """Compare the message with the columns of trades_raw, and with the exchange's own text in its payload.

    The payload may be of any exchange or a line of a dump: price, quantity and trade id occur in it digit for digit.
    """
    try:
        message = json.loads(envelope, parse_float=str, parse_int=str)
        payload = message["payload"] if isinstance(message, dict) else ""
        values = (
            _payload_texts(json.loads(payload, parse_float=str, parse_int=str)) if isinstance(payload, str) else set()
        )
    except (ValueError, KeyError, RecursionError):
        return []
    changes = []
    for name, column in (("trade_id", "trade_id"), ("price", "price"), ("quantity", "quantity")):
        sent = str(message.get(name, ""))
        if values and sent and sent not in values:
            changes.append(
                ValueChange(layer="producer", field=name, before="not in the exchange's payload", after=sent)
            )
        changes += _differ("raw_trades", column, sent, raw[column])
    for name in ("symbol", "timestamp", "side", "kind", "matches"):
        column = "timestamp_raw" if name == "timestamp" else name
        changes += _differ("raw_trades", column, str(message.get(name, "")), raw[column])
    return changes


def raw_to_bronze(raw: Row, bronze: Row) -> list[ValueChange]:
    """Compare Raw with Bronze, which keeps every text unchanged and reads the time."""
    pairs = (
        ("price", "price_text"),
        ("quantity", "quantity_text"),
        ("timestamp_raw", "timestamp_raw"),
        ("side", "side"),
        ("sequence", "sequence"),
        ("kind", "kind"),
        ("matches", "matches"),
    )
    changes = [change for a, b in pairs for change in _differ("bronze_trades", b, raw[a], bronze[b])]
    moment = _time(raw["timestamp_raw"])
    return changes + (_differ("bronze_trades", "timestamp", moment, bronze["timestamp"]) if moment else [])


def bronze_to_silver(bronze: Row, silver: Row) -> list[ValueChange]:
    """Compare Bronze with Silver, whose numbers are the exact decimals of the texts; quote_volume is their product."""
    # A message that Bronze could not read has no id there.
    changes = _differ("silver_trades", "trade_id", bronze["trade_id"] or silver["trade_id"], silver["trade_id"])
    for text, name in (("price_text", "price"), ("quantity_text", "quantity")):
        changes += _differ("silver_trades", name, _decimal(bronze[text]), _decimal(silver[name]))
    product = _EXACT.multiply(Decimal(silver["price"]), Decimal(silver["quantity"]))
    changes += _differ("silver_trades", "quote_volume", product, Decimal(silver["quote_volume"]))
    changes += _differ("silver_trades", "trade_kind", bronze["kind"] or "market", silver["trade_kind"])
    changes += _differ("silver_trades", "match_count", int(bronze["matches"] or 1), int(silver["match_count"]))
    changes += _differ("silver_trades", "side", str(bronze["side"]).upper(), str(silver["side"]))
    return changes + _differ("silver_trades", "timestamp", bronze["timestamp"], silver["timestamp"])


def hot_to_cold(layer: str, hot: Row, cold: Row) -> list[ValueChange]:
    """Compare a hot row with the cold row, which has the same values."""
    return [
        change
        for name in cold.keys() & hot.keys()
        for change in _differ(f"cold.{layer}", name, _plain(hot[name]), _plain(cold[name]))
    ]


def answer_to_row(series: Series, texts: Mapping[str, str], row: Row) -> list[ValueChange]:
    """Compare the `texts` of an answer (by column) with the row of a series: numbers, texts and time must be equal."""
    return [
        change
        for column in series.columns
        for text in (texts.get(column.name, ""),)
        for change in _differ(series.snapshots, column.name, _expected(column, text), _stored(column, row[column.name]))
        if column.name != series.time or _time(text) is not None
    ]


def candle_to_candle(layer: str, before: Row, after: Row) -> list[ValueChange]:
    """Compare two candles in the numbers that both have. Cold candles of version 0.1 have no volume by side."""
    return [
        change
        for name in CANDLE_NUMBERS
        if before[name] is not None and after[name] is not None
        for change in _differ(layer, name, Decimal(str(before[name])), Decimal(str(after[name])))
    ]


def _differ(layer: str, field: str, before: object, after: object) -> list[ValueChange]:
    return [] if before == after else [ValueChange(layer=layer, field=field, before=str(before), after=str(after))]


def _plain(value: Any) -> Any:
    return Decimal(value) if isinstance(value, int) else value


def _expected(column: Column, text: str) -> object:
    if column.type == "time":
        return _time(text)
    return _stored(column, text or None)


def _stored(column: Column, value: object) -> object:
    return _decimal(value) if column.is_number and value is not None else value


def _decimal(value: object) -> object:
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return str(value)


def _time(text: str) -> datetime | None:
    """The time in µs, rounded down; None for texts that only Bronze's SQL can read."""
    if not text.isascii() or not text.isdigit():
        return None
    number = int(text)
    times, over = next(((times, over) for limit, times, over in _MAGNITUDES if number < limit), (0, 1))
    micros = number * times // over
    if not EARLIEST_US < micros < END_US:
        return None
    return datetime.fromtimestamp(micros // 10**6, UTC).replace(microsecond=micros % 10**6)


def _payload_texts(payload: object) -> set[str]:
    """The texts of a payload. The payload of a dump is one line of its file."""
    if isinstance(payload, str):
        cells = (cell.strip() for cell in payload.split(","))
        return {cell.removeprefix('"').removesuffix('"').strip() for cell in cells}
    return _scalars(payload)


def _scalars(value: object) -> set[str]:
    if isinstance(value, dict):
        return {scalar for part in value.values() for scalar in _scalars(part)}
    if isinstance(value, list):
        return {scalar for part in value for scalar in _scalars(part)}
    return {str(value)}
