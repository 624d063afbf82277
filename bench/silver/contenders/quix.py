"""Quix Streams: one message a trade, a pydantic model, rows through its own batching sink.

`python quix.py BROKERS TOPIC CLICKHOUSE_PORT DATABASE`, in the environment of `requirements-bench.txt`. Stands alone,
as a first version would; a checkpoint, and so an insert, every tenth of a second or 10,000 trades.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from clickhouse_driver import Client
from pydantic import BaseModel, Field
from quixstreams import Application
from quixstreams.sinks import BatchingSink, SinkBatch

_BROKERS, _TOPIC, _PORT, _DATABASE = sys.argv[1:5]
_CHECKPOINT_S = 0.1
_CHECKPOINT_TRADES = 10_000
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


def _time(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1e6, UTC)


class SilverSink(BatchingSink):  # type: ignore[misc]
    """Inserts a checkpoint's trades."""

    def __init__(self) -> None:
        super().__init__()
        self._client = Client("127.0.0.1", int(_PORT), database=_DATABASE)

    def write(self, batch: SinkBatch) -> None:
        """One insert."""
        now = datetime.now(UTC)
        self._client.execute(_INSERT, [_row(item.value, item, batch.partition, now) for item in batch])


def _row(trade: BronzeTrade, item: Any, partition: int, validated_at: datetime) -> tuple[Any, ...]:
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
        item.offset,
        _time(item.timestamp * 1_000),
        "",
        "",
    )


def main() -> None:
    """Consume until killed."""
    app = Application(
        broker_address=_BROKERS,
        consumer_group=f"quix-{_TOPIC}",
        auto_offset_reset="earliest",
        auto_create_topics=False,
        use_changelog_topics=False,
        commit_interval=_CHECKPOINT_S,
        commit_every=_CHECKPOINT_TRADES,
        loglevel="WARNING",
    )
    stream = app.dataframe(topic=app.topic(_TOPIC, value_deserializer="bytes"))
    stream.apply(BronzeTrade.model_validate_json).sink(SilverSink())
    app.run()


if __name__ == "__main__":
    main()
