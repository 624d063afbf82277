-- Inserts all Bronze rows into Silver, and by its views into Gold, as the Silver worker would.
INSERT INTO silver_trades
    (exchange, symbol, trade_id, price, quantity, quote_volume, timestamp, side, validated_at, sequence, exchange_symbol,
     raw_topic, raw_partition, raw_offset, published_at, received_at, ingested_at, bronze_partition, bronze_offset,
     bronze_published_at, insert_token, rules_version)
SELECT
    exchange,
    symbol,
    trade_id,
    toDecimal128(price_text, 18),
    toDecimal128(quantity_text, 18),
    CAST(toDecimal256(price_text, 10) * toDecimal256(quantity_text, 10) AS Decimal(38, 20)),
    timestamp,
    side,
    ingested_at + INTERVAL 1 SECOND,
    toUInt64OrZero(trade_id),
    symbol,
    raw_topic,
    raw_partition,
    raw_offset,
    published_at,
    received_at,
    ingested_at,
    0,
    intDiv(raw_offset, 8192),
    published_at,
    concat('bench:', toString(intDiv(raw_offset, 8192))),
    'bench'
FROM bronze_trades
SETTINGS max_partitions_per_insert_block = 0
