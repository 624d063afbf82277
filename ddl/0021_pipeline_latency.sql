-- The latency of each trade, for questions that the metric medallion_trade_latency_seconds cannot answer (which trade,
-- when). The stages are the metric's. A row does not know when its own insert returned, so the last stage is `queue`.
CREATE OR REPLACE VIEW {{ db }}.pipeline_latency{{ on_cluster }}
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
