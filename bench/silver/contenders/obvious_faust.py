"""The obvious Faust agent: one event a trade, a pydantic model, row inserts.

`python obvious_faust.py BROKERS TOPIC CLICKHOUSE_PORT DATABASE ROWS_AN_INSERT`; rows wait at most a tenth of a second
for others to share their insert (1: every trade is inserted by itself). Stands alone, as a first version would.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import faust
from clickhouse_driver import Client
from pydantic import BaseModel, Field

_BROKERS, _TOPIC, _PORT, _DATABASE, _ROWS = sys.argv[1:6]
_WITHIN_S = 0.1
_INSERT = (
    "INSERT INTO silver_trades (exchange, symbol, trade_id, price, quantity, quote_volume, timestamp, side, "
    "validated_at, sequence, exchange_symbol, raw_topic, raw_partition, raw_offset, published_at, received_at, "
    "ingested_at, bronze_partition, bronze_offset, bronze_published_at, insert_token, rules_version) VALUES"
)


class BronzeTrade(BaseModel):
    """A message."""

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


app = faust.App(
    f"obvious-{_TOPIC}",
    broker=[f"kafka://{server}" for server in _BROKERS.split(",")],
    store="memory://",
    web_enabled=False,
    topic_disable_leader=True,
    topic_allow_declare=False,
    consumer_auto_offset_reset="earliest",
)
topic = app.topic(_TOPIC, value_type=bytes, value_serializer="raw")
client = Client("127.0.0.1", int(_PORT), database=_DATABASE)


def _time(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1e6, UTC)


def _row(trade: BronzeTrade, event: Any, validated_at: datetime) -> tuple[Any, ...]:
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
        event.message.partition,
        event.message.offset,
        _time(round(event.message.timestamp * 1e6)),
        "",
        "",
    )


@app.agent(topic)  # type: ignore[untyped-decorator]
async def silver(stream: Any) -> None:
    """Validate and insert."""
    if int(_ROWS) == 1:
        async for event in stream.events():
            trade = BronzeTrade.model_validate_json(event.value)
            client.execute(_INSERT, [_row(trade, event, datetime.now(UTC))])
        return
    async for events in stream.noack().noack_take(int(_ROWS), within=_WITHIN_S):
        now = datetime.now(UTC)
        client.execute(_INSERT, [_row(BronzeTrade.model_validate_json(event.value), event, now) for event in events])
        for event in events:
            event.ack()


if __name__ == "__main__":
    app.Worker(loglevel="WARNING", quiet=True, redirect_stdouts=False).execute_from_commandline()
