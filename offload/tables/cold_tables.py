"""The cold tables: columns, partitions, sort orders, and how each is sliced for export.

Types (from ClickHouse): DateTime64 -> timestamptz (µs, UTC); UInt8..64 and offsets -> long; Decimal as it is; Enum and
LowCardinality -> string. Every column is required, except Bronze's Nullable(Float64) price and quantity, the optional
columns of series, and columns added after version 0.1.

Text columns of Raw, Bronze and the dead letters hold what the sender of a message claims. They need not be UTF-8, as
Iceberg strings must be, so the export passes them through `toValidUTF8`. No byte is lost: `raw_json` is
`binary` in Iceberg and keeps the message byte for byte. A dead letter's `payload` is `binary` too.

Partitions. Raw, Bronze, duplicates and dead letters are partitioned by the day of *arrival* and the raw topic.
Medallion sets both. Exchange and event time are claims of a message, and invalid messages could make a partition each.
Readers skip as many files as with exchange and event time: files carry the minimum and maximum of exchange, symbol and
timestamp, and one topic is one exchange. Series are partitioned by the day of arrival and the provider, for the same
reasons. Silver and Gold are validated, so they are partitioned by exchange and day (Gold 1h and 1d: month) of event
time.
"""

from __future__ import annotations

from ddl.layers import RetentionClass, Timeframe, load_layers
from offload.tables.cold_table import (
    BYTES,
    DOUBLE,
    LAYERS,
    LONG,
    PRICE,
    QUOTE,
    TEXT,
    TIME,
    UINT64,
    ColdTable,
    Column,
    Layer,
)
from offload.tables.series_tables import DEAD_LETTERS, series_tables, staging_table
from schemas.coordinates import COORDINATES
from series.declaration import load_series

__all__ = ["BY_NAME", "GOLD", "LAYERS", "STAGING", "TABLES", "ColdTable", "Layer"]

_TOPIC, _PARTITION, _OFFSET, _PUBLISHED = COORDINATES
_COORDINATES: tuple[Column, ...] = (
    (_TOPIC, TEXT, "Kafka topic of the raw message"),
    (_PARTITION, LONG, "Kafka partition of the raw message"),
    (_OFFSET, LONG, "Kafka offset of the raw message"),
    (_PUBLISHED, TIME, "Kafka timestamp of the raw message (ms)"),
)

_TEXTS = {"kind": "", "matches": ""}

_RAW = ColdTable(
    name="raw_trades",
    layer="raw",
    hot="trades_raw",
    select="select_raw.sql",
    doc="Every raw message as it arrived, redelivered ones included",
    columns=(
        ("exchange", TEXT, "exchange code as the message says"),
        ("symbol", TEXT, "the exchange's own symbol"),
        ("trade_id", TEXT, "the exchange's trade id"),
        ("price", TEXT, "the exchange's own text"),
        ("quantity", TEXT, "the exchange's own text"),
        ("timestamp_raw", TEXT, "event time, the exchange's own text"),
        ("side", TEXT, "the taker's side as the message says"),
        ("sequence", TEXT, "the exchange's order key, empty if it has none"),
        ("kind", TEXT, "kind of trade, empty: market"),
        ("matches", TEXT, "how many matches the message sums up, empty: one"),
        ("raw_json", BYTES, "the Kafka message byte for byte"),
        *_COORDINATES,
        ("received_at", TIME, "receive time at the producer"),
        ("ingested_at", TIME, "arrival in ClickHouse; the window of the offload"),
    ),
    partition_time="ingested_at",
    partition_by="raw_topic",
    period="day",
    sort=("exchange", "ingested_at", "raw_offset"),
    arrival="ingested_at",
    hot_event="ingested_at",
    row_key=COORDINATES,
    later=_TEXTS,
)

_BRONZE = ColdTable(
    name="bronze_trades",
    layer="bronze",
    hot="bronze_trades",
    select="select_bronze.sql",
    doc="Typed messages, one row a raw coordinate and window; the input of re-derivation",
    columns=(
        ("exchange", TEXT, "exchange code as the message says"),
        ("symbol", TEXT, "the exchange's own symbol"),
        ("trade_id", TEXT, "the exchange's trade id"),
        ("price", DOUBLE, "price in quote currency, rounded to a double; null if unreadable"),
        ("quantity", DOUBLE, "quantity in base currency, rounded to a double; null if unreadable"),
        ("timestamp", TIME, "event time; the arrival time where it was unreadable"),
        ("side", TEXT, "the taker's side as the message says"),
        ("ingested_at", TIME, "arrival in ClickHouse; the window of the offload"),
        ("price_text", TEXT, "the exchange's own text"),
        ("quantity_text", TEXT, "the exchange's own text"),
        ("timestamp_raw", TEXT, "event time, the exchange's own text"),
        ("sequence", TEXT, "the exchange's order key, empty if it has none"),
        ("kind", TEXT, "kind of trade, empty: market"),
        ("matches", TEXT, "how many matches the message sums up, empty: one"),
        ("defect", TEXT, "reason code of what Bronze could not read, or empty"),
        *_COORDINATES,
        ("received_at", TIME, "receive time at the producer"),
    ),
    partition_time="ingested_at",
    partition_by="raw_topic",
    period="day",
    sort=("exchange", "symbol", "timestamp", "trade_id"),
    arrival="ingested_at",
    hot_event="timestamp",
    optional=frozenset({"price", "quantity"}),
    merges=True,
    unsettled=frozenset({*COORDINATES, "received_at"}),
    unsettled_if="defect = '' AND trade_id != ''",
    later=_TEXTS,
)

_SILVER = ColdTable(
    name="silver_trades",
    layer="silver",
    hot="silver_trades",
    select="select_silver.sql",
    doc="Validated trades, each (exchange, symbol, trade_id) once",
    columns=(
        ("exchange", TEXT, "exchange-and-market code"),
        ("symbol", TEXT, "canonical symbol"),
        ("trade_id", TEXT, "the exchange's trade id"),
        ("price", PRICE, "price in quote currency, digit for digit"),
        ("quantity", PRICE, "quantity in base currency, digit for digit"),
        ("quote_volume", QUOTE, "exact price * quantity, quote currency"),
        ("timestamp", TIME, "event time"),
        ("side", TEXT, "the taker's side: BUY or SELL"),
        ("validated_at", TIME, "arrival in Silver; the window of the offload"),
        ("sequence", UINT64, "order of trades within one timestamp, an unsigned 64-bit number"),
        ("trade_kind", TEXT, "kind of trade; candles count some kinds only"),
        ("match_count", LONG, "so many matches; a numeric trade_id is that of the last"),
        ("exchange_symbol", TEXT, "the exchange's own symbol"),
        *_COORDINATES,
        ("received_at", TIME, "receive time at the producer"),
        ("ingested_at", TIME, "arrival in ClickHouse"),
        ("bronze_partition", LONG, "Kafka partition of the Bronze message"),
        ("bronze_offset", LONG, "Kafka offset of the Bronze message"),
        ("bronze_published_at", TIME, "Kafka timestamp of the Bronze message (ms)"),
        ("insert_token", TEXT, "de-duplication token of the insert"),
        ("rules_version", TEXT, "version of the rules and registry that validated the trade"),
    ),
    partition_time="timestamp",
    partition_by="exchange",
    period="day",
    sort=("symbol", "timestamp", "trade_id"),
    arrival="validated_at",
    hot_event="timestamp",
    row_key=("exchange", "symbol", "trade_id"),
    later={"trade_kind": "market", "match_count": 1},
)

_DUPLICATES = ColdTable(
    name="duplicate_trades",
    layer="duplicates",
    hot="duplicate_trades",
    select="select_duplicates.sql",
    doc="Trades received again and left out of Silver, one row a raw message and window",
    columns=(
        ("exchange", TEXT, "exchange-and-market code"),
        ("symbol", TEXT, "canonical symbol"),
        ("trade_id", TEXT, "the exchange's trade id"),
        ("timestamp", TIME, "event time"),
        *_COORDINATES,
        ("bronze_partition", LONG, "Kafka partition of the Bronze message"),
        ("bronze_offset", LONG, "Kafka offset of the Bronze message"),
        ("insert_token", TEXT, "de-duplication token of the insert"),
        ("seen_at", TIME, "when Silver left it out; the window of the offload"),
    ),
    partition_time="seen_at",
    partition_by="raw_topic",
    period="day",
    sort=("exchange", "symbol", "timestamp", "trade_id"),
    arrival="seen_at",
    hot_event="published_at",
    merges=True,
    counts_merged=True,
)

_DLQ = ColdTable(
    name="dlq_trades",
    layer="dlq",
    hot="dlq_trades_log",
    select="select_dlq.sql",
    doc="Dead letters, resolved ones included; one row a raw message, reason and window",
    columns=(
        ("reason", TEXT, "reason code; empty if the DLQ message was no dead letter"),
        ("field", TEXT, "the field that was refused"),
        ("value", TEXT, "its value"),
        ("rule", TEXT, "what it broke"),
        ("limit", TEXT, "the limit, where the rule has one"),
        ("exchange", TEXT, "exchange code as the message says"),
        ("symbol", TEXT, "the exchange's own symbol"),
        ("trade_id", TEXT, "the exchange's trade id"),
        ("price_text", TEXT, "the exchange's own text"),
        ("quantity_text", TEXT, "the exchange's own text"),
        ("timestamp_raw", TEXT, "event time, the exchange's own text"),
        ("side", TEXT, "the taker's side as the message says"),
        ("sequence", TEXT, "the exchange's order key, empty if it has none"),
        ("kind", TEXT, "kind of trade, empty: market"),
        ("matches", TEXT, "how many matches the message sums up, empty: one"),
        ("timestamp", TIME, "event time as Bronze read it"),
        ("defect", TEXT, "reason code of what Bronze could not read, or empty"),
        *_COORDINATES,
        ("received_at", TIME, "receive time at the producer"),
        ("ingested_at", TIME, "arrival in ClickHouse"),
        ("rejected_at", TIME, "when Silver refused it; the window of the offload"),
        ("processor_version", TEXT, "version of the Silver processor"),
        ("rules_version", TEXT, "version of the rules and registry that refused it"),
        ("payload", BYTES, "the raw message, at most its first 64 KiB"),
        ("payload_bytes", LONG, "its full length"),
        ("payload_encoding", TEXT, "base64 where it was not UTF-8"),
        ("dlq_partition", LONG, "Kafka partition of the dead letter"),
        ("dlq_offset", LONG, "Kafka offset of the dead letter"),
    ),
    partition_time="rejected_at",
    partition_by="raw_topic",
    period="day",
    sort=("exchange", "symbol", "rejected_at"),
    arrival="rejected_at",
    hot_event="published_at",
    merges=True,
    counts_merged=True,
    # A dead letter that was produced twice has two offsets in the DLQ topic and is otherwise the same.
    unsettled=frozenset({"dlq_partition", "dlq_offset"}),
    unsettled_if="reason != ''",
    later=_TEXTS,
)


def _gold(frame: Timeframe, kept: RetentionClass) -> ColdTable:
    return ColdTable(
        name=frame.view,
        layer="gold",
        hot=frame.exact_view,
        select="select_gold.sql",
        doc=f"Candles of {frame.code}, UTC",
        columns=(
            ("exchange", TEXT, "exchange-and-market code"),
            ("symbol", TEXT, "canonical symbol"),
            ("window_start", TIME, "start of the candle"),
            ("open", PRICE, "first price by (timestamp, sequence, trade_id)"),
            ("high", PRICE, "highest price"),
            ("low", PRICE, "lowest price"),
            ("close", PRICE, "last price by (timestamp, sequence, trade_id)"),
            ("volume", PRICE, "sum of quantity, base currency"),
            ("quote_volume", QUOTE, "sum of quote_volume, quote currency"),
            ("trade_count", LONG, "number of trades"),
            ("buy_volume", PRICE, "the part of volume whose taker bought, base currency"),
            ("sell_volume", PRICE, "the part of volume whose taker sold, base currency"),
        ),
        partition_time="window_start",
        partition_by="exchange",
        period=kept.partition,
        sort=("symbol", "window_start"),
        bucket_seconds=frame.seconds,
        hot_event="window_start",
        partition_prefix=kept.partition_prefix,
        later={"buy_volume": None, "sell_volume": None},
    )


TABLES: tuple[ColdTable, ...] = (
    _RAW,
    _BRONZE,
    _SILVER,
    _DUPLICATES,
    _DLQ,
    *(_gold(frame, kept) for kept in load_layers().candles for frame in kept.timeframes),
    *(table for series in load_series() for table in series_tables(series)),
    DEAD_LETTERS,
)
# Further hot tables whose rows a cold table has. Only the durability gate uses them.
STAGING: tuple[ColdTable, ...] = tuple(staging_table(series) for series in load_series())
BY_NAME = {table.name: table for table in TABLES}
GOLD = tuple(table for table in TABLES if table.layer == "gold")
