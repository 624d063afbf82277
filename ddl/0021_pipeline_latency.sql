-- The latency of each trade, for questions that the metric medallion_trade_latency_seconds cannot answer (which trade,
-- when). The stages are the metric's. A row does not know when its own insert returned, so the last stage is `queue`.
CREATE OR REPLACE VIEW {{ db }}.pipeline_latency{{ on_cluster }}
(
    exchange LowCardinality(String) COMMENT 'exchange-and-market code',
    symbol LowCardinality(String) COMMENT 'canonical symbol: BTCUSDT',
    trade_id String COMMENT 'as the exchange gives it',
    timestamp DateTime64(6, 'UTC') COMMENT 'of the trade, by the exchange',
    validated_at DateTime64(6, 'UTC') COMMENT 'when Silver took it',
    exchange_seconds Float64 COMMENT 'from the trade until the producer received it, by two clocks, s',
    producer_seconds Float64 COMMENT 'from there until it was published to Kafka, s',
    raw_seconds Float64 COMMENT 'from there until ClickHouse took the raw message, s',
    bronze_seconds Float64 COMMENT 'from there until the Bronze topic had it, s',
    queue_seconds Float64 COMMENT 'from there until Silver took it, s',
    pipeline_seconds Float64 COMMENT 'from the producer until Silver took it, s',
    total_seconds Float64 COMMENT 'from the trade until Silver took it, s'
)
AS
SELECT
    exchange,
    symbol,
    trade_id,
    timestamp,
    validated_at,
    dateDiff('microsecond', timestamp, received_at) / 1e6 AS exchange_seconds,
    dateDiff('microsecond', received_at, published_at) / 1e6 AS producer_seconds,
    dateDiff('microsecond', published_at, ingested_at) / 1e6 AS raw_seconds,
    dateDiff('microsecond', ingested_at, bronze_published_at) / 1e6 AS bronze_seconds,
    dateDiff('microsecond', bronze_published_at, validated_at) / 1e6 AS queue_seconds,
    dateDiff('microsecond', received_at, validated_at) / 1e6 AS pipeline_seconds,
    dateDiff('microsecond', timestamp, validated_at) / 1e6 AS total_seconds
FROM {{ db }}.silver_trades;
