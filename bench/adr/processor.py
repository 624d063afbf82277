"""The ADR's Silver processor, row by row in Python: `python -m bench.adr.processor`.

It follows the ADR's Kotlin code. A record is a dictionary, checked field by field. A valid one becomes a
`ValidatedTrade`, whose decimals are made from doubles. Rejects go to the DLQ one by one. An insert has a thousand rows,
or those of a tenth of a second. Offsets are committed after the insert, so after a crash trades are counted twice. The
ADR does not mention this.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import fastavro
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from bench.stack import native_client
from config.connections import kafka_client
from config.registry import SymbolRegistry
from config.settings import Settings

_INSERT = (
    "INSERT INTO silver_trades (exchange, symbol, trade_id, price, quantity, quote_volume, timestamp, side) VALUES"
)
_ROWS = 1_000
_WITHIN_S = 0.1
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class ValidatedTrade:
    """A row of Silver."""

    exchange: str
    symbol: str
    trade_id: str
    price: Decimal
    quantity: Decimal
    quote_volume: Decimal
    timestamp: datetime
    side: str


class RejectedError(Exception):
    """A record breaks a rule. The message is the ADR's reason."""


class SymbolNames:
    """The ADR's symbol registry: canonical symbols by exchange and exchange symbol."""

    def __init__(self, registry: SymbolRegistry) -> None:
        rows = registry.lookup
        self._canonical = {(str(row["exchange"]), str(row["exchange_symbol"])): str(row["canonical"]) for row in rows}
        self.exchanges = {exchange for exchange, _ in self._canonical}

    def normalize(self, exchange: str, symbol: str) -> str | None:
        """The canonical symbol; None if there is none."""
        return self._canonical.get((exchange, symbol))


def process_record(record: Mapping[str, Any], symbols: SymbolNames) -> ValidatedTrade:
    """Validate, normalise and enrich one record.

    Raises:
        RejectedError: a rule is broken.
    """
    exchange, symbol = record.get("exchange"), record.get("symbol")
    price, quantity = record.get("price"), record.get("quantity")
    if not isinstance(exchange, str):
        raise RejectedError("missing exchange")
    if not isinstance(symbol, str):
        raise RejectedError("missing symbol")
    if not isinstance(price, float):
        raise RejectedError("missing price")
    if not isinstance(quantity, float):
        raise RejectedError("missing quantity")
    if price <= 0 or price > 1_000_000:
        raise RejectedError(f"price out of range: {price}")
    if quantity <= 0 or quantity > 100_000:
        raise RejectedError(f"quantity out of range: {quantity}")
    if exchange not in symbols.exchanges:
        raise RejectedError(f"unknown exchange: {exchange}")
    canonical = symbols.normalize(exchange, symbol)
    if canonical is None:
        raise RejectedError(f"unmapped symbol: {exchange}:{symbol}")
    return ValidatedTrade(
        exchange=exchange,
        symbol=canonical,
        trade_id=record["trade_id"],
        price=Decimal(repr(price)),
        quantity=Decimal(repr(quantity)),
        quote_volume=Decimal(repr(price * quantity)),
        timestamp=record["timestamp"],
        side=record["side"].upper(),
    )


class Processor:
    """Consumes Bronze until the process is ended."""

    def __init__(self, settings: Settings) -> None:
        broker = kafka_client(settings)
        self._dlq_topic = settings.dlq_topic
        self._symbols = SymbolNames(SymbolRegistry.load(settings.symbols_file))
        self._clickhouse = native_client(settings)
        self._dlq = Producer(broker)
        self._consumer = Consumer(
            {
                **broker,
                # The node's flow control reads the offsets of this group.
                "group.id": settings.silver_consumer_group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                # The in-memory broker answers an empty fetch only after this time.
                "fetch.wait.max.ms": 10,
                "receive.message.max.bytes": 1_000_000_000,
            }
        )
        self._consumer.subscribe([settings.bronze_topic])
        self._rows: list[ValidatedTrade] = []
        self._first_at = 0.0
        self._next: dict[tuple[str, int], int] = {}

    def run(self) -> None:
        """Never returns."""
        while True:
            message = self._consumer.poll(_POLL_S)
            if message is not None and message.error() is None:
                self._take(message)
            if self._rows and time.monotonic() - self._first_at >= _WITHIN_S:
                self._insert()
                self._commit()

    def _take(self, message: Message) -> None:
        has_inserted = False
        for record in fastavro.reader(io.BytesIO(message.value())):
            try:
                trade = process_record(record, self._symbols)
            except RejectedError as rejected:
                self._dlq.produce(self._dlq_topic, str(record).encode(), str(rejected).encode())
                self._dlq.poll(0)
                continue
            if not self._rows:
                self._first_at = time.monotonic()
            self._rows.append(trade)
            if len(self._rows) >= _ROWS:
                self._insert()
                has_inserted = True
        if has_inserted:
            # All earlier messages are inserted. Rows of this one may still wait.
            self._commit()
        self._next[message.topic(), message.partition()] = message.offset() + 1

    def _insert(self) -> None:
        self._clickhouse.execute(_INSERT, [astuple(trade) for trade in self._rows])
        self._rows.clear()

    def _commit(self) -> None:
        offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in self._next.items()]
        if offsets:
            self._consumer.commit(offsets=offsets, asynchronous=True)


def main() -> int:
    """Consume until killed."""
    Processor(Settings.from_environment(os.environ)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
