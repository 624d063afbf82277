"""The nine cold tables: Iceberg schemas, partitions, sort orders, and how each is sliced for export.

Types (from ClickHouse): DateTime64 -> timestamptz (µs, UTC); UInt8..64 and offsets -> long; Decimal as it is; Enum and
LowCardinality -> string; everything required, except Bronze's Nullable(Float64) price and quantity.

Text columns of Raw and Bronze are claims of whoever produced the message and may not be UTF-8, which Iceberg strings
must be: the export passes them through `toValidUTF8`. Nothing is lost by that, since `raw_json` keeps the message
byte for byte; it is `binary` in Iceberg for the same reason.

Partitions. Raw and Bronze go by the day of *arrival* and the raw topic: both are facts of ours, whereas exchange and
event time are whatever a message says, and a stream of junk must not become one partition a message. Files still carry
minimum and maximum of exchange, symbol and timestamp, and one topic is one exchange, so readers skip as many files.
Silver and Gold are validated, hence by day (Gold 1h and 1d: month) of event time and exchange.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.sorting import NullOrder, SortDirection, SortField, SortOrder
from pyiceberg.transforms import DayTransform, IdentityTransform, MonthTransform, Transform
from pyiceberg.types import (
    BinaryType,
    DecimalType,
    DoubleType,
    IcebergType,
    LongType,
    NestedField,
    StringType,
    TimestamptzType,
)

from ddl.layers import load_layers

Layer = Literal["raw", "bronze", "silver", "gold"]
LAYERS: tuple[Layer, ...] = ("raw", "bronze", "silver", "gold")
Period = Literal["day", "month"]

TEXT, LONG, TIME, BYTES, DOUBLE = StringType(), LongType(), TimestamptzType(), BinaryType(), DoubleType()
PRICE, QUOTE = DecimalType(38, 18), DecimalType(38, 20)

Column = tuple[str, IcebergType, str]


@dataclass(frozen=True)
class ColdTable:
    """One cold table.

    `select` is the SQL file that turns hot rows into cold ones; what the offload writes and what `verify` compares
    with both come from it. `arrival` is the column by whose hour the table is sliced; Gold has none and is sliced by
    partition, `bucket_seconds` being the length of its candles.
    """

    name: str
    layer: Layer
    hot: str
    select: str
    columns: tuple[Column, ...]
    partition_time: str
    partition_by: str
    period: Period
    sort: tuple[str, ...]
    arrival: str = ""
    bucket_seconds: int = 0
    optional: frozenset[str] = frozenset()
    doc: str = ""

    @property
    def hot_event(self) -> str:
        """The column by whose day or month the hot table is partitioned."""
        return "timestamp" if self.layer == "bronze" else self.partition_time

    @property
    def schema(self) -> Schema:
        """The Iceberg schema; field ids follow the order of the columns."""
        fields = (
            NestedField(number, name, kind, required=name not in self.optional, doc=doc)
            for number, (name, kind, doc) in enumerate(self.columns, start=1)
        )
        return Schema(*fields)

    @property
    def spec(self) -> PartitionSpec:
        """Partition spec: the period of `partition_time`, then `partition_by` as it is."""
        period: Transform[int, int] = DayTransform() if self.period == "day" else MonthTransform()
        schema = self.schema
        time = schema.find_field(self.partition_time).field_id
        key = schema.find_field(self.partition_by).field_id
        return PartitionSpec(
            PartitionField(time, 1000, period, f"{self.partition_time}_{self.period}"),
            PartitionField(key, 1001, IdentityTransform(), self.partition_by),
        )

    @property
    def sort_order(self) -> SortOrder:
        """The order of the rows in every file. Raw and Silver have the hot table's own,
        so that a window of any size is read in order instead of sorted.
        """
        schema = self.schema
        return SortOrder(
            *(
                SortField(
                    schema.find_field(name).field_id, IdentityTransform(), SortDirection.ASC, NullOrder.NULLS_FIRST
                )
                for name in self.sort
            )
        )


_COORDINATES: tuple[Column, ...] = (
    ("raw_topic", TEXT, "Kafka topic of the raw message"),
    ("raw_partition", LONG, "Kafka partition of the raw message"),
    ("raw_offset", LONG, "Kafka offset of the raw message"),
    ("published_at", TIME, "Kafka timestamp of the raw message (ms)"),
)

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
        ("defect", TEXT, "reason code of what Bronze could not read, or empty"),
        *_COORDINATES,
        ("received_at", TIME, "receive time at the producer"),
    ),
    partition_time="ingested_at",
    partition_by="raw_topic",
    period="day",
    sort=("exchange", "symbol", "timestamp", "trade_id"),
    arrival="ingested_at",
    optional=frozenset({"price", "quantity"}),
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
        ("sequence", DecimalType(20, 0), "order of trades within one timestamp, an unsigned 64-bit number"),
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
)


def _gold(view: str, code: str, seconds: int, period: Period) -> ColdTable:
    return ColdTable(
        name=view,
        layer="gold",
        hot=view,
        select="select_gold.sql",
        doc=f"Candles of {code}, UTC",
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
        ),
        partition_time="window_start",
        partition_by="exchange",
        period=period,
        sort=("symbol", "window_start"),
        bucket_seconds=seconds,
    )


TABLES: tuple[ColdTable, ...] = (
    _RAW,
    _BRONZE,
    _SILVER,
    *(_gold(frame.view, frame.code, frame.seconds, frame.partition) for frame in load_layers().timeframes),
)
BY_NAME = {table.name: table for table in TABLES}
