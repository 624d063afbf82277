-- The first rejection of each message that was sent again. dlq_trades_log merges deliveries of one reject, so that a
-- message rejected for A, then B, then A again has A's latest rejection only.
ALTER TABLE {{ db }}.dlq_replays{{ on_cluster }}
    ADD COLUMN IF NOT EXISTS reason LowCardinality(String) COMMENT 'of that rejection; empty: sent before migration 0029' AFTER rejected_at;

CREATE TABLE IF NOT EXISTS {{ db }}.dlq_first_rejections{{ on_cluster }}
(
    raw_topic LowCardinality(String),
    raw_partition UInt32 CODEC(T64, ZSTD(1)),
    raw_offset UInt64 CODEC(Delta, ZSTD(1)),
    published_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    first SimpleAggregateFunction(min, Tuple(rejected_at DateTime64(6, 'UTC'), reason String)) COMMENT 'when and why it was rejected first'
)
ENGINE = {{ sql.merge_tree('Aggregating') }}
PARTITION BY toYYYYMMDD(published_at)
ORDER BY (raw_topic, raw_partition, raw_offset, published_at)
COMMENT 'The first rejection of each message that was sent again, one row a raw message';

CREATE MATERIALIZED VIEW IF NOT EXISTS {{ db }}.dlq_first_rejections_mv{{ on_cluster }} TO {{ db }}.dlq_first_rejections
AS
SELECT raw_topic, raw_partition, raw_offset, published_at, tuple(rejected_at, toString(reason)) AS first
FROM {{ db }}.dlq_replays
WHERE reason != '';
