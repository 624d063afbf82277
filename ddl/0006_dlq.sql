-- The dead-letter queue in SQL: what Silver rejected, why, and where it came from.

-- Dead letters are less urgent than candles, so blocks are fewer and larger, and an idle broker gets fewer requests.
CREATE TABLE IF NOT EXISTS {{ db }}.dlq_trades_queue{{ on_cluster }}
(
    raw_data String
)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = {{ kafka_brokers | literal }},
    kafka_topic_list = {{ dlq_topic | literal }},
    kafka_group_name = {{ dlq_consumer_group | literal }},
    kafka_format = 'RawBLOB',
    kafka_flush_interval_ms = {{ [kafka_flush_interval_ms, 250] | max }},
    kafka_max_block_size = {{ kafka_max_block_rows }},
    kafka_poll_max_batch_size = {{ kafka_max_block_rows }};

-- Partitioned by the day of the *raw* message, so that a reject that is delivered again on another day still merges.
-- The last key expression keeps messages apart that are no dead letters (their reason is empty).
CREATE TABLE IF NOT EXISTS {{ db }}.dlq_trades_log{{ on_cluster }}
(
    reason LowCardinality(String),
    field LowCardinality(String),
    value String CODEC(ZSTD(1)),
    rule String CODEC(ZSTD(1)),
    limit String CODEC(ZSTD(1)),
    exchange LowCardinality(String),
    symbol String CODEC(ZSTD(1)),
    trade_id String CODEC(ZSTD(1)),
    price_text String CODEC(ZSTD(1)),
    quantity_text String CODEC(ZSTD(1)),
    timestamp_raw String CODEC(ZSTD(1)),
    side String CODEC(ZSTD(1)),
    raw_topic LowCardinality(String),
    raw_partition UInt32 CODEC(T64, ZSTD(1)),
    raw_offset UInt64 CODEC(Delta, ZSTD(1)),
    published_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    received_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    ingested_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    rejected_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    processor_version LowCardinality(String),
    rules_version LowCardinality(String),
    payload String COMMENT 'the raw message, at most its first 64 KiB' CODEC(ZSTD(1)),
    payload_bytes UInt64 COMMENT 'its full length' CODEC(T64, ZSTD(1)),
    payload_encoding LowCardinality(String) COMMENT 'base64 where it was not UTF-8',
    dlq_partition UInt32 CODEC(T64, ZSTD(1)),
    dlq_offset UInt64 CODEC(Delta, ZSTD(1))
)
ENGINE = {{ sql.merge_tree('Replacing', 'rejected_at') }}
PARTITION BY toYYYYMMDD(published_at)
ORDER BY (raw_topic, raw_partition, raw_offset, published_at, reason, if(reason = '', (dlq_partition, dlq_offset), (0, 0)))
COMMENT 'Storage of dlq_trades, which merges deliveries of one reject';

-- With these columns a record holds the whole Bronze row. It can be validated again after Bronze has dropped the row.
ALTER TABLE {{ db }}.dlq_trades_log{{ on_cluster }}
    ADD COLUMN IF NOT EXISTS sequence String CODEC(ZSTD(1)) AFTER side,
    ADD COLUMN IF NOT EXISTS timestamp DateTime64(6, 'UTC') COMMENT 'as Bronze read it' CODEC(Delta, ZSTD(1)) AFTER sequence,
    ADD COLUMN IF NOT EXISTS defect LowCardinality(String) AFTER timestamp;

-- A row is written before a message is sent again. The row alone does not resolve the dead letter: see dlq_resolutions.
CREATE TABLE IF NOT EXISTS {{ db }}.dlq_replays{{ on_cluster }}
(
    raw_topic LowCardinality(String),
    raw_partition UInt32 CODEC(T64, ZSTD(1)),
    raw_offset UInt64 CODEC(Delta, ZSTD(1)),
    published_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    exchange LowCardinality(String),
    symbol LowCardinality(String) COMMENT 'canonical, as Silver will have it',
    timestamp DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    rules_version LowCardinality(String) COMMENT 'by which it would pass',
    rejected_at DateTime64(6, 'UTC') COMMENT 'its latest rejection when it was sent' CODEC(Delta, ZSTD(1)),
    replay_id String CODEC(ZSTD(1)),
    sent_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    landed LowCardinality(String) COMMENT 'once confirmed: silver or duplicates',
    is_confirmed UInt8
)
ENGINE = {{ sql.merge_tree('Replacing', 'is_confirmed') }}
PARTITION BY toYYYYMMDD(published_at)
ORDER BY (raw_topic, raw_partition, raw_offset, published_at)
COMMENT 'Dead letters that were sent through again, one row a raw message';

-- A dead letter is resolved when it was sent again *and* its raw message is in Silver or among the duplicates. The view
-- derives this, so it changes with the insert of the trade: a message is always in exactly one place. A confirmation
-- keeps the dead letter resolved after Silver's partition has left for Iceberg.
CREATE OR REPLACE VIEW {{ db }}.dlq_resolutions{{ on_cluster }}
(
    raw_topic LowCardinality(String) COMMENT 'Kafka topic of the raw message',
    raw_partition UInt32 COMMENT 'Kafka partition of the raw message',
    raw_offset UInt64 COMMENT 'Kafka offset of the raw message',
    published_at DateTime64(3, 'UTC') COMMENT 'Kafka timestamp of the raw message',
    replay_rules_version LowCardinality(String) COMMENT 'rules and registry by which it would pass: see rules_versions',
    last_rejected_at DateTime64(6, 'UTC') COMMENT 'its latest rejection when it was sent again',
    replay_id String COMMENT 'the run of medallion dlq replay that sent it',
    sent_at DateTime64(6, 'UTC') COMMENT 'when it was sent again',
    is_confirmed UInt8 COMMENT '1: where it landed is noted for good, also after Silver has left for Iceberg',
    landed String COMMENT 'silver or duplicates; empty: not arrived yet, the dead letter is open'
)
AS
WITH
    (replay.raw_topic, replay.raw_partition, replay.raw_offset, replay.published_at) AS place
SELECT
    replay.raw_topic AS raw_topic,
    replay.raw_partition AS raw_partition,
    replay.raw_offset AS raw_offset,
    replay.published_at AS published_at,
    replay.rules_version AS replay_rules_version,
    replay.rejected_at AS last_rejected_at,
    replay.replay_id AS replay_id,
    replay.sent_at AS sent_at,
    replay.is_confirmed AS is_confirmed,
    multiIf(
        replay.is_confirmed, toString(replay.landed),
        place IN (
            SELECT raw_topic, raw_partition, raw_offset, published_at
            FROM {{ db }}.silver_trades
            WHERE (exchange, symbol, timestamp) IN (
                SELECT exchange, symbol, timestamp FROM {{ db }}.dlq_replays FINAL WHERE NOT is_confirmed)
        ), 'silver',
        place IN (
            SELECT raw_topic, raw_partition, raw_offset, published_at
            FROM {{ db }}.duplicate_trades
            WHERE (raw_topic, raw_partition, raw_offset, published_at) IN (
                SELECT raw_topic, raw_partition, raw_offset, published_at FROM {{ db }}.dlq_replays FINAL WHERE NOT is_confirmed)
        ), 'duplicates',
        '') AS landed
FROM {{ db }}.dlq_replays AS replay FINAL;

-- The open dead letters. A resolved one is left out.
CREATE OR REPLACE VIEW {{ db }}.dlq_trades{{ on_cluster }}
(
    reason LowCardinality(String) COMMENT 'code of the broken rule, see docs/reasons.md',
    field LowCardinality(String) COMMENT 'the field that breaks it',
    value String COMMENT 'what the field has, as text',
    rule String COMMENT 'the rule, as text',
    limit String COMMENT 'what the rule allows, as text',
    exchange LowCardinality(String) COMMENT 'exchange-and-market code',
    symbol String COMMENT 'as the exchange writes it',
    trade_id String COMMENT 'as the exchange gives it',
    price_text String COMMENT 'quote currency, with the digits of the exchange',
    quantity_text String COMMENT 'base currency, with the digits of the exchange',
    timestamp_raw String COMMENT 'of the trade, as the exchange wrote it',
    side String COMMENT 'of the taker, as the message has it',
    sequence String COMMENT 'orders trades of one timestamp, as the message has it',
    kind LowCardinality(String) COMMENT 'a kind of trade, see docs/kinds.md; empty: market',
    matches String COMMENT 'how many matches the message sums up; empty: one',
    timestamp DateTime64(6, 'UTC') COMMENT 'of the trade, as Bronze read it',
    defect LowCardinality(String) COMMENT 'why Bronze could not read the message; empty: it could',
    raw_topic LowCardinality(String) COMMENT 'Kafka topic of the raw message',
    raw_partition UInt32 COMMENT 'Kafka partition of the raw message',
    raw_offset UInt64 COMMENT 'Kafka offset of the raw message',
    published_at DateTime64(3, 'UTC') COMMENT 'Kafka timestamp of the raw message',
    received_at DateTime64(6, 'UTC') COMMENT 'when the producer received it',
    ingested_at DateTime64(6, 'UTC') COMMENT 'when ClickHouse took the raw message',
    rejected_at DateTime64(6, 'UTC') COMMENT 'when Silver rejected it last',
    processor_version LowCardinality(String) COMMENT 'version of Medallion that rejected it',
    rules_version LowCardinality(String) COMMENT 'rules and registry that rejected it: see rules_versions',
    payload String COMMENT 'the raw message, at most its first 64 KiB',
    payload_bytes UInt64 COMMENT 'full length of the raw message, bytes',
    payload_encoding LowCardinality(String) COMMENT 'base64 where the payload was not UTF-8',
    dlq_partition UInt32 COMMENT 'Kafka partition of the dead letter',
    dlq_offset UInt64 COMMENT 'Kafka offset of the dead letter'
)
AS
-- The view selects the columns that the table has at this point: migration 0022 adds kind and matches.
SELECT *
FROM {{ db }}.dlq_trades_log FINAL
WHERE (raw_topic, raw_partition, raw_offset, published_at) NOT IN (
    SELECT raw_topic, raw_partition, raw_offset, published_at FROM {{ db }}.dlq_resolutions WHERE landed != '');

CREATE MATERIALIZED VIEW IF NOT EXISTS {{ db }}.dlq_trades_mv{{ on_cluster }} TO {{ db }}.dlq_trades_log
AS
WITH
    JSONExtract(queue.raw_data, 'Tuple(reason String, field String, value String, rule String, limit String, exchange String, symbol String, trade_id String, price_text String, quantity_text String, timestamp_raw String, side String, sequence String, kind String, matches String, timestamp Int64, defect String, raw_topic String, raw_partition UInt32, raw_offset UInt64, published_at Int64, received_at Int64, ingested_at Int64, rejected_at Int64, processor_version String, rules_version String, payload String, payload_bytes UInt64, payload_encoding String)') AS reject
SELECT
    reject.reason AS reason,
    reject.field AS field,
    reject.value AS value,
    reject.rule AS rule,
    reject.limit AS limit,
    reject.exchange AS exchange,
    reject.symbol AS symbol,
    reject.trade_id AS trade_id,
    reject.price_text AS price_text,
    reject.quantity_text AS quantity_text,
    reject.timestamp_raw AS timestamp_raw,
    reject.side AS side,
    reject.sequence AS sequence,
    reject.kind AS kind,
    reject.matches AS matches,
    {{ sql.micros_or_epoch('reject.timestamp') }} AS timestamp,
    reject.defect AS defect,
    reject.raw_topic AS raw_topic,
    reject.raw_partition AS raw_partition,
    reject.raw_offset AS raw_offset,
    fromUnixTimestamp64Milli({{ sql.bounded_ms('reject.published_at') }}, 'UTC') AS published_at,
    {{ sql.micros_or_epoch('reject.received_at') }} AS received_at,
    {{ sql.micros_or_epoch('reject.ingested_at') }} AS ingested_at,
    {{ sql.micros_or_epoch('reject.rejected_at') }} AS rejected_at,
    reject.processor_version AS processor_version,
    reject.rules_version AS rules_version,
    -- A message that is no dead letter is from another program. Text of every row can be read as Arrow and Parquet.
    multiIf(reject.reason != '', reject.payload, isValidUTF8(queue.raw_data), queue.raw_data, base64Encode(queue.raw_data)) AS payload,
    if(reject.reason = '', length(queue.raw_data), reject.payload_bytes) AS payload_bytes,
    multiIf(reject.reason != '', reject.payload_encoding, isValidUTF8(queue.raw_data), '', 'base64') AS payload_encoding,
    toUInt32(queue._partition) AS dlq_partition,
    queue._offset AS dlq_offset
FROM {{ db }}.dlq_trades_queue AS queue;
