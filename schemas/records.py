"""The records of every topic and of Silver, as pydantic models. All schemas are made from them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from schemas.wire import (
    Amount,
    Micros,
    MicrosNumber,
    Millis,
    MillisNumber,
    QuoteAmount,
    Side,
    Text,
    UInt32,
    UInt64,
    arrow_schema,
)


class Record(BaseModel):
    """The base of all records: immutable, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class RawTrade(Record):
    """Raw envelope: the exchange's own text of each field, digit for digit, and its message verbatim.

    `received_at` is µs since the epoch (UTC). `side` is the taker's. `kind` is one of `schemas.kinds`, "" for an
    ordinary market trade. `matches` is how many matches the message sums up, "" for one.
    """

    exchange: Text
    symbol: Text
    trade_id: Text
    price: Text
    quantity: Text
    timestamp: Text
    side: Text
    sequence: Text
    kind: Text = ""
    matches: Text = ""
    received_at: MicrosNumber
    payload: Text
    payload_encoding: Text = ""


class BronzeTrade(Record):
    """Row of the Bronze topic: one raw message, time normalised, numbers still text, with its coordinates.

    `timestamp`, `received_at` and `ingested_at` are µs, `published_at` ms since the epoch (UTC).
    """

    exchange: Text
    symbol: Text
    trade_id: Text
    price_text: Text
    quantity_text: Text
    timestamp: Micros
    timestamp_raw: Text
    side: Text
    sequence: Text
    kind: Text = ""
    matches: Text = ""
    defect: Text
    raw_topic: Text
    raw_partition: UInt32
    raw_offset: UInt64
    published_at: Millis
    received_at: Micros
    ingested_at: Micros


class SilverTrade(Record):
    """Row of silver_trades: a valid trade under its canonical symbol, exact decimals, with its lineage.

    `price` is in quote currency, `quantity` in base currency, `quote_volume` is their exact product. `trade_kind` is
    one of `schemas.kinds`. A trade of `match_count` n whose id is the number L stands for the ids L-n+1 … L.
    """

    exchange: Text
    symbol: Text
    trade_id: Text
    price: Amount
    quantity: Amount
    quote_volume: QuoteAmount
    timestamp: Micros
    side: Side
    validated_at: Micros
    sequence: UInt64
    trade_kind: Text = "market"
    match_count: UInt32 = 1
    exchange_symbol: Text
    raw_topic: Text
    raw_partition: UInt32
    raw_offset: UInt64
    published_at: Millis
    received_at: Micros
    ingested_at: Micros
    bronze_partition: UInt32
    bronze_offset: UInt64
    bronze_published_at: Millis
    insert_token: Text
    rules_version: Text


class DuplicateTrade(Record):
    """Row of duplicate_trades: a valid trade that Silver has already, counted and not stored again."""

    exchange: Text
    symbol: Text
    trade_id: Text
    timestamp: Micros
    raw_topic: Text
    raw_partition: UInt32
    raw_offset: UInt64
    published_at: Millis
    bronze_partition: UInt32
    bronze_offset: UInt64
    insert_token: Text
    seen_at: Micros


class DeadLetter(Record):
    """Record of the DLQ topic (JSON): why a raw message is no trade, and where the message is.

    Times are numbers: µs since the epoch (UTC), `published_at` in ms. The record has the whole Bronze row, with
    `sequence`, `timestamp` and `defect`, so that it can be validated again after Bronze has dropped the row. `payload`
    has at most 64 KiB of the raw message, `payload_bytes` its full length; `payload_encoding` is "base64" if it is not
    UTF-8.
    """

    reason: Text
    field: Text
    value: Text
    rule: Text
    limit: Text
    exchange: Text
    symbol: Text
    trade_id: Text
    price_text: Text
    quantity_text: Text
    timestamp_raw: Text
    side: Text
    sequence: Text
    kind: Text = ""
    matches: Text = ""
    timestamp: MicrosNumber
    defect: Text
    raw_topic: Text
    raw_partition: UInt32
    raw_offset: UInt64
    published_at: MillisNumber
    received_at: MicrosNumber
    ingested_at: MicrosNumber
    rejected_at: MicrosNumber
    processor_version: Text
    rules_version: Text
    payload: Text
    payload_bytes: UInt64 = 0
    payload_encoding: Text = ""


BRONZE = arrow_schema(BronzeTrade)
SILVER = arrow_schema(SilverTrade)
DUPLICATE = arrow_schema(DuplicateTrade)
