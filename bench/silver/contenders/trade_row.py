"""The message and the Silver row of a trade, for contenders that read one trade a message.

Imported in both environments, so it uses only pydantic and the standard library.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, Field

INSERT = (
    "INSERT INTO silver_trades (exchange, symbol, trade_id, price, quantity, quote_volume, timestamp, side, "
    "validated_at, sequence, exchange_symbol, raw_topic, raw_partition, raw_offset, published_at, received_at, "
    "ingested_at, bronze_partition, bronze_offset, bronze_published_at, insert_token, rules_version) VALUES"
)


class BronzeTrade(BaseModel):
    """A message of one trade."""

    exchange: str
    symbol: str
    trade_id: str
    price_text: Decimal = Field(gt=0, lt=1_000_000)
    quantity_text: Decimal = Field(gt=0, lt=100_000)
    timestamp: int
    side: Literal["BUY", "SELL"]
    raw_topic: str
    raw_partition: int
    raw_offset: int
    published_at: int
    received_at: int
    ingested_at: int


def row(trade: BronzeTrade, partition: int, offset: int, published_us: int, validated_at: datetime) -> tuple[Any, ...]:
    """The values of `INSERT`, with the message's partition, offset and Kafka time (µs, UTC)."""
    return (
        trade.exchange,
        trade.symbol,
        trade.trade_id,
        trade.price_text,
        trade.quantity_text,
        trade.price_text * trade.quantity_text,
        _time(trade.timestamp),
        trade.side,
        validated_at,
        0,
        trade.symbol,
        trade.raw_topic,
        trade.raw_partition,
        trade.raw_offset,
        _time(trade.published_at * 1_000),
        _time(trade.received_at),
        _time(trade.ingested_at),
        partition,
        offset,
        _time(published_us),
        "",
        "",
    )


def _time(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1e6, UTC)
