-- Silver: validated trades, each once and with every digit; and the duplicates that were not inserted.

CREATE TABLE IF NOT EXISTS {{ db }}.silver_trades{{ on_cluster }}
(
    exchange LowCardinality(String),
    symbol LowCardinality(String) COMMENT 'canonical: BTCUSDT',
    trade_id String CODEC(ZSTD(1)),
    price Decimal(38, 18) CODEC(ZSTD(1)),
    quantity Decimal(38, 18) CODEC(ZSTD(1)),
    quote_volume Decimal(38, 20) COMMENT 'price * quantity, exact' CODEC(ZSTD(1)),
    timestamp DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    side Enum8('BUY' = 1, 'SELL' = 2) COMMENT 'of the taker',
    validated_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    sequence UInt64 COMMENT 'orders trades of one timestamp, then trade_id does' CODEC(Delta, ZSTD(1)),
    exchange_symbol LowCardinality(String) COMMENT 'as the exchange writes it',
    raw_topic LowCardinality(String),
    raw_partition UInt32 CODEC(T64, ZSTD(1)),
    raw_offset UInt64 CODEC(Delta, ZSTD(1)),
    published_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    received_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    ingested_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    bronze_partition UInt32 CODEC(T64, ZSTD(1)),
    bronze_offset UInt64 CODEC(T64, ZSTD(1)),
    bronze_published_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    insert_token String CODEC(ZSTD(1)),
    rules_version LowCardinality(String)
)
ENGINE = {{ sql.merge_tree() }}
PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (exchange, symbol, timestamp, trade_id)
SETTINGS {{ sql.remember_inserts() }}
COMMENT 'Validated trades, each (exchange, symbol, trade_id) once';

CREATE TABLE IF NOT EXISTS {{ db }}.duplicate_trades{{ on_cluster }}
(
    exchange LowCardinality(String),
    symbol LowCardinality(String),
    trade_id String CODEC(ZSTD(1)),
    timestamp DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    raw_topic LowCardinality(String),
    raw_partition UInt32 CODEC(T64, ZSTD(1)),
    raw_offset UInt64 CODEC(Delta, ZSTD(1)),
    published_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    bronze_partition UInt32 CODEC(T64, ZSTD(1)),
    bronze_offset UInt64 CODEC(T64, ZSTD(1)),
    insert_token String CODEC(ZSTD(1)),
    seen_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = {{ sql.merge_tree('Replacing', 'seen_at') }}
PARTITION BY toYYYYMMDD(published_at)
ORDER BY (raw_topic, raw_partition, raw_offset, published_at)
SETTINGS {{ sql.remember_inserts() }}
COMMENT 'Trades received again and left out of Silver, one row a raw message; count with FINAL';
