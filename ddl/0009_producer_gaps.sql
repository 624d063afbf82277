-- Gaps of live producers: one row for each gap, with its newest state.

-- Gaps are less urgent than candles, so blocks are fewer and larger, and an idle broker gets fewer requests.
CREATE TABLE IF NOT EXISTS {{ db }}.producer_gaps_queue{{ on_cluster }}
(
    raw_data String
)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = {{ kafka_brokers | literal }},
    kafka_topic_list = {{ gaps_topic | literal }},
    kafka_group_name = {{ gaps_consumer_group | literal }},
    kafka_format = 'RawBLOB',
    kafka_flush_interval_ms = {{ [kafka_flush_interval_ms, 250] | max }},
    kafka_max_block_size = {{ kafka_max_block_rows }},
    kafka_poll_max_batch_size = {{ kafka_max_block_rows }};

CREATE TABLE IF NOT EXISTS {{ db }}.producer_gaps_log{{ on_cluster }}
(
    exchange LowCardinality(String),
    symbol LowCardinality(String) COMMENT 'canonical, as in the candles',
    exchange_symbol LowCardinality(String),
    from_id String COMMENT 'first missing trade id; empty where ids have no order',
    to_id String COMMENT 'last missing trade id',
    from_time DateTime64(6, 'UTC') COMMENT 'of the trade before the gap',
    to_time DateTime64(6, 'UTC') COMMENT 'of the trade after the gap',
    ids_missing UInt64 COMMENT 'trades found missing; 0: unknown',
    ids_open UInt64 COMMENT 'of these, not published yet',
    state LowCardinality(String) COMMENT 'open, healed, unfillable',
    detected_at DateTime64(6, 'UTC'),
    healed_at Nullable(DateTime64(6, 'UTC')),
    noted_at DateTime64(6, 'UTC')
)
ENGINE = {{ sql.merge_tree('Replacing', 'noted_at') }}
PARTITION BY toYYYYMM(detected_at)
ORDER BY (exchange, exchange_symbol, detected_at, from_id, from_time)
COMMENT 'Storage of producer_gaps, which shows the newest state of each gap';

CREATE OR REPLACE VIEW {{ db }}.producer_gaps{{ on_cluster }}
(
    exchange LowCardinality(String) COMMENT 'exchange-and-market code',
    symbol LowCardinality(String) COMMENT 'canonical, as in the candles',
    exchange_symbol LowCardinality(String) COMMENT 'as the exchange writes it',
    from_id String COMMENT 'first missing trade id; empty where ids have no order',
    to_id String COMMENT 'last missing trade id',
    from_time DateTime64(6, 'UTC') COMMENT 'of the trade before the gap or the one after it, the earlier',
    to_time DateTime64(6, 'UTC') COMMENT 'the later of the two: ids need not be in the order of times',
    ids_missing UInt64 COMMENT 'trades found missing; 0: unknown',
    ids_open UInt64 COMMENT 'of these, not published yet',
    state LowCardinality(String) COMMENT 'open, healed or unfillable',
    detected_at DateTime64(6, 'UTC') COMMENT 'when the producer noticed it',
    healed_at Nullable(DateTime64(6, 'UTC')) COMMENT 'when the last missing trade was published; NULL: not yet',
    noted_at DateTime64(6, 'UTC') COMMENT 'when this state was written'
)
AS
SELECT
    gap.* REPLACE (least(gap.from_time, gap.to_time) AS from_time, greatest(gap.from_time, gap.to_time) AS to_time)
FROM {{ db }}.producer_gaps_log AS gap FINAL;

CREATE MATERIALIZED VIEW IF NOT EXISTS {{ db }}.producer_gaps_mv{{ on_cluster }} TO {{ db }}.producer_gaps_log
AS
WITH
    JSONExtract(queue.raw_data, 'Tuple(exchange String, symbol String, exchange_symbol String, from_id String, to_id String, from_time Int64, to_time Int64, ids_missing UInt64, ids_open UInt64, state String, detected_at Int64, healed_at Int64, noted_at Int64)') AS gap
SELECT
    gap.exchange AS exchange,
    gap.symbol AS symbol,
    gap.exchange_symbol AS exchange_symbol,
    gap.from_id AS from_id,
    gap.to_id AS to_id,
    {{ sql.micros_or_epoch('gap.from_time') }} AS from_time,
    {{ sql.micros_or_epoch('gap.to_time') }} AS to_time,
    gap.ids_missing AS ids_missing,
    gap.ids_open AS ids_open,
    gap.state AS state,
    {{ sql.micros_or_epoch('gap.detected_at') }} AS detected_at,
    if(gap.healed_at > 0, {{ sql.micros_or_epoch('gap.healed_at') }}, NULL) AS healed_at,
    {{ sql.micros_or_epoch('gap.noted_at') }} AS noted_at
FROM {{ db }}.producer_gaps_queue AS queue
WHERE gap.exchange != '';
