"""Raw messages into the Kafka stand-in, and what the layers made of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count

import polars as pl

from config.settings import Settings
from tests.ddl.engine import Engine

TOPIC = "market.crypto.trades.binance.raw"
PUBLISHED_MS = 1_723_161_600_123
FIELDS = ("exchange", "symbol", "trade_id", "price", "quantity", "timestamp", "side", "sequence")
_partitions = count()


def envelope(**fields: str | int) -> bytes:
    """A raw message as our producers write it, BTCUSDT on Binance unless told otherwise."""
    message: dict[str, str | int] = {
        "exchange": "binance",
        "symbol": "BTCUSDT",
        "trade_id": "1",
        "price": "60000.10",
        "quantity": "0.50",
        "timestamp": "1723161600123",
        "side": "BUY",
        "sequence": "",
        "received_at": 1_723_161_600_500_000,
        "payload": '{"e":"trade"}',
    }
    return json.dumps(message | fields, separators=(",", ":"), ensure_ascii=False).encode()


def publish(engine: Engine, settings: Settings, messages: Sequence[bytes]) -> int:
    """One block of messages, as the Kafka engine hands it on. Their offsets count from 0 in the partition returned."""
    partition = next(_partitions)
    engine.insert(
        f"{settings.clickhouse_database}.trades_raw_queue",
        pl.DataFrame(
            {
                "raw_data": pl.Series(messages, dtype=pl.Binary),
                "_topic": [TOPIC] * len(messages),
                "_partition": [partition] * len(messages),
                "_offset": pl.Series(range(len(messages)), dtype=pl.UInt64),
                "_timestamp_ms": pl.Series([PUBLISHED_MS] * len(messages)).cast(pl.Datetime("ms", "UTC")),
            }
        ),
    )
    return partition


def raw_rows(engine: Engine, settings: Settings, partition: int) -> pl.DataFrame:
    """The rows of trades_raw from one `publish`, by offset; text as bytes."""
    return engine.frame(
        f"SELECT * FROM {settings.clickhouse_database}.trades_raw WHERE _partition = {partition} ORDER BY _offset"
    )


def bronze_rows(engine: Engine, settings: Settings, partition: int) -> pl.DataFrame:
    """The rows of bronze_trades from one `publish`, by offset, times as µs; text as bytes."""
    return engine.frame(
        "SELECT * REPLACE (toUnixTimestamp64Micro(timestamp) AS timestamp,"
        " toUnixTimestamp64Micro(ingested_at) AS ingested_at)"
        f" FROM {settings.clickhouse_database}.bronze_trades WHERE raw_partition = {partition} ORDER BY raw_offset"
    )
