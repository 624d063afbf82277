"""Measures Silver stages: Bronze messages to columns, columns to new valid rows, rows into Silver and Gold."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any

import fastavro
import psutil
import pyarrow as pa

from bench.isolated import Lap, lap
from bench.stack import native_client
from config.registry import SymbolRegistry
from config.settings import Settings
from silver_processor.batching.batch import Message, decode_message, validate, with_insert_columns
from silver_processor.clickhouse import ClickHouse
from silver_processor.core.rules import Rules
from silver_processor.retry import RetryPolicy
from silver_processor.seen.by_market import by_market
from silver_processor.seen.index import SeenTrades, Split

_TOKEN = "bench"
_SMALL_REPETITIONS = 20


@dataclass(frozen=True, slots=True)
class CoreStages:
    """The laps of decoding, of validating with de-duplication and of the obvious way; and the Silver rows."""

    decode: list[Lap]
    validate: list[Lap]
    obvious: list[Lap]
    silver_rows: pa.Table


def core_stages(messages: Sequence[bytes], repetitions: int) -> CoreStages:
    """Bronze messages → Arrow → rules, quote_volume → new rows: the pure part of the Silver processor."""
    settings = Settings()
    rules = Rules.of(SymbolRegistry.load(settings.symbols_file))
    decoded = _decode(messages)
    rows = sum(message.rows.num_rows for message in decoded)
    seen = _known(rules, decoded)
    decode_laps = [lap(rows, lambda: _decode(messages)) for _ in range(repetitions)]
    validate_laps = [lap(rows, lambda: _split(seen, _validated(decoded, rules))) for _ in range(repetitions)]
    obvious_laps = [lap(rows, lambda: [_obvious(message) for message in messages]) for _ in range(repetitions)]
    return CoreStages(decode_laps, validate_laps, obvious_laps, _validated(decoded, rules))


@dataclass(frozen=True, slots=True)
class InsertStages:
    """The laps of an insert of all rows, of a small insert, and of the obvious way. CPU includes the node's."""

    whole: list[Lap]
    small: list[Lap]
    obvious: list[Lap]


def insert_stages(
    silver_rows: pa.Table, settings: Settings, node_pid: int, repetitions: int, small_rows: int
) -> InsertStages:
    """Insert Silver rows into `silver_trades` with its Gold view, each time with a new token."""
    clickhouse = ClickHouse(settings, RetryPolicy(threading.Event()))
    node = [psutil.Process(node_pid)]
    tokens = (f"{_TOKEN}-{number}" for number in count())
    rows = silver_rows.num_rows

    def insert(table: pa.Table) -> Callable[[], None]:
        return lambda: clickhouse.insert("silver_trades", table, next(tokens))

    few = silver_rows.slice(0, small_rows)
    whole = [lap(rows, insert(silver_rows), node) for _ in range(repetitions)]
    small = [lap(few.num_rows, insert(few), node) for _ in range(_SMALL_REPETITIONS)]
    client = native_client(settings)
    columns = ", ".join(silver_rows.column_names)
    records = [tuple(record.values()) for record in silver_rows.to_pylist()]
    statement = f"INSERT INTO silver_trades ({columns}) VALUES"
    obvious = [lap(rows, lambda: client.execute(statement, records), node) for _ in range(repetitions)]
    client.disconnect()
    return InsertStages(whole, small, obvious)


def _decode(messages: Sequence[bytes]) -> list[Message]:
    return [decode_message(0, offset, 0, value) for offset, value in enumerate(messages)]


def _validated(decoded: Sequence[Message], rules: Rules) -> pa.Table:
    now = datetime.now(UTC)
    return with_insert_columns(validate(decoded, "bench", rules, now).valid, _TOKEN, now)


def _split(seen: SeenTrades, valid: pa.Table) -> Split:
    return seen.split(valid, by_market(valid))


def _known(rules: Rules, decoded: Sequence[Message]) -> SeenTrades:
    """An index of seen trades that knows the markets, and has no trades."""
    seen = SeenTrades(lambda _rows, _token: (_ for _ in ()).throw(AssertionError("numeric ids never ask Silver")))
    seen.load(seen.unknown(by_market(_validated(decoded, rules))))
    return seen


def _obvious(message: bytes) -> list[dict[str, Any]]:
    """The obvious way: fastavro, one dictionary a row, `decimal` for the product."""
    fresh = []
    for row in fastavro.reader(io.BytesIO(message)):
        price, quantity = Decimal(row["price_text"]), Decimal(row["quantity_text"])
        if price > 0 and quantity > 0 and row["side"] in {"BUY", "SELL"}:
            fresh.append({**row, "price": price, "quantity": quantity, "quote_volume": price * quantity})
    return fresh
