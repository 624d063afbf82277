-- The version of a trade that an operator has accepted (`medallion dlq accept`) where its messages contradict each other.
-- Silver's rules honour it in the stream and in every re-derivation: a message that contradicts it never becomes the
-- trade. It has no retention, because a later re-derivation must produce the same rows.
CREATE TABLE IF NOT EXISTS {{ db }}.corrections{{ on_cluster }}
(
    exchange LowCardinality(String),
    symbol LowCardinality(String) COMMENT 'canonical, as Silver has it',
    trade_id String CODEC(ZSTD(1)),
    price Decimal(38, 18) COMMENT 'what the accepted version says' CODEC(ZSTD(1)),
    quantity Decimal(38, 18) CODEC(ZSTD(1)),
    timestamp DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    side Enum8('BUY' = 1, 'SELL' = 2),
    trade_kind LowCardinality(String),
    match_count UInt32 CODEC(T64, ZSTD(1)),
    raw_topic LowCardinality(String) COMMENT 'the message that was accepted',
    raw_partition UInt32 CODEC(T64, ZSTD(1)),
    raw_offset UInt64 CODEC(Delta, ZSTD(1)),
    published_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    old_timestamp DateTime64(6, 'UTC') COMMENT 'of the version that Silver had' CODEC(DoubleDelta, ZSTD(1)),
    accepted_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    is_applied UInt8 COMMENT '1: Silver, Gold and the cold tables have followed',
    noted_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = {{ sql.merge_tree('Replacing', 'noted_at') }}
ORDER BY (exchange, symbol, trade_id)
COMMENT 'Accepted versions of trades, one row a trade; read with FINAL';
