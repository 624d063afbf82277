"""Makes endless Bronze rows from recorded trades, as Avro messages or as one JSON message a trade."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson
import polars as pl
from confluent_kafka import Producer

from bench.load import SOURCES
from bench.trades import TradeStream
from config.registry import SymbolRegistry
from config.settings import Settings

ROWS_A_MESSAGE = 8_192
_SHAPES = 8_192
_QUEUE_KBYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Market:
    """An exchange code and an exchange symbol."""

    exchange: str
    symbol: str


class BronzeFeed:
    """Unique trades of `markets` in turn. Price, quantity and side come from recordings. Ids are consecutive.

    Args:
        markets: at least one. All must be in the registry that validates them.
        first_id: the first trade id of each market.
    """

    def __init__(self, markets: Sequence[Market], first_id: int = 1) -> None:
        registry = SymbolRegistry.load(Settings().symbols_file)
        recorded = TradeStream.load(SOURCES, registry, len(SOURCES), 1).take(_SHAPES, 0)
        self._shapes = pl.DataFrame(
            {
                "price_text": [one.price for one in recorded],
                "quantity_text": [one.quantity for one in recorded],
                "side": [one.side for one in recorded],
            }
        )
        self._markets = pl.DataFrame(
            {"exchange": [one.exchange for one in markets], "symbol": [one.symbol for one in markets]}
        )
        self._first_id = first_id
        self._made = 0

    def take(self, count: int, traded_us: int, step_us: int = 0) -> pl.DataFrame:
        """The next `count` Bronze rows, with the columns of `schemas.records.BRONZE`.

        The first is traded at `traded_us` (µs since the epoch, UTC), each other one `step_us` after the one before.
        """
        number = pl.int_range(self._made, self._made + count, eager=True)
        self._made += count
        rows = pl.DataFrame({"number": number, "traded": traded_us + step_us * (number - number[0])})
        market = self._markets[(number % self._markets.height).cast(pl.UInt32)]
        shape = self._shapes[(number % self._shapes.height).cast(pl.UInt32)]
        now = time.time_ns() // 1_000
        return pl.concat([rows, market, shape], how="horizontal").select(
            "exchange",
            "symbol",
            (pl.col("number") // self._markets.height + self._first_id).cast(pl.String).alias("trade_id"),
            "price_text",
            "quantity_text",
            pl.col("traded").cast(pl.Datetime("us")).alias("timestamp"),
            (pl.col("traded") // 1_000).cast(pl.String).alias("timestamp_raw"),
            "side",
            pl.lit("").alias("sequence"),
            pl.lit("").alias("defect"),
            pl.format("market.crypto.trades.{}.raw", "exchange").alias("raw_topic"),
            pl.lit(0, pl.Int32).alias("raw_partition"),
            pl.col("number").cast(pl.Int64).alias("raw_offset"),
            pl.lit(now // 1_000, pl.Int64).cast(pl.Datetime("ms")).alias("published_at"),
            *(pl.lit(now, pl.Int64).cast(pl.Datetime("us")).alias(name) for name in ("received_at", "ingested_at")),
        )


def avro(rows: pl.DataFrame) -> bytes:
    """A Bronze message as ClickHouse's sink writes it: an Avro container with deflate."""
    buffer = io.BytesIO()
    rows.write_avro(buffer, compression="deflate", name="bronze")
    return buffer.getvalue()


def json_lines(rows: pl.DataFrame) -> Iterator[bytes]:
    """One message a trade: the Bronze columns as a JSON object, times in µs (`published_at` in ms)."""
    times = [name for name, kind in rows.schema.items() if isinstance(kind, pl.Datetime)]
    return map(orjson.dumps, rows.with_columns(pl.col(times).to_physical()).iter_rows(named=True))


def producer(servers: str) -> Producer:
    """A producer whose buffer has room for a few million trades."""
    return Producer(
        {
            "bootstrap.servers": servers,
            "message.max.bytes": Settings().kafka_max_message_bytes,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": _QUEUE_KBYTES,
            "linger.ms": 5,
        }
    )
