-- The tables and views of ADR-009 as it words them. Where they cannot run so, a comment that begins with "Fault" says
-- what was changed, which is as little as possible. The numbers are those of docs/invariants.md, which has ADR-009.

-- Fault 4: the embedded node reads RawBLOB, not JSONAsString. Both give the same text for a message that is one JSON
-- object. The topics are those of the load. The ADR sets no flush interval. With the server's default of 7.5 s every
-- latency would be that long, so the table has the flush interval of this pipeline.
CREATE TABLE trades_raw_queue (
    raw_data String
) ENGINE = Kafka
SETTINGS
    kafka_broker_list = 'embedded',
    kafka_topic_list = {{ raw_topics | join(',') | literal }},
    kafka_group_name = {{ raw_consumer_group | literal }},
    kafka_format = 'RawBLOB',
    kafka_flush_interval_ms = {{ kafka_flush_interval_ms }};

CREATE TABLE trades_raw (
    exchange String,
    symbol String,
    trade_id String,
    price String,
    quantity String,
    timestamp_raw String,
    side String,
    raw_json String,
    _topic String,
    _partition UInt32,
    _offset UInt64,
    ingested_at DateTime64(3) DEFAULT now64(3)
) ENGINE = MergeTree()
PARTITION BY toYYYYMMDD(ingested_at)
ORDER BY (exchange, ingested_at, _offset)
TTL ingested_at + INTERVAL 48 HOUR;

CREATE TABLE bronze_trades (
    exchange LowCardinality(String),
    symbol String,
    trade_id String,
    price Float64,
    quantity Float64,
    timestamp DateTime64(3),
    side LowCardinality(String),
    ingested_at DateTime64(3)
) ENGINE = ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (exchange, symbol, trade_id)
TTL timestamp + INTERVAL 7 DAY;

-- Fault 14: nothing in the ADR brings Bronze rows to the processor. Here a Kafka table does, with many rows a message
-- as in this pipeline. The server's default, a message for each row, would only cost more.
CREATE TABLE bronze_trades_sink (
    exchange String,
    symbol String,
    trade_id String,
    price Float64,
    quantity Float64,
    timestamp DateTime64(3),
    side String
) ENGINE = Kafka
SETTINGS
    kafka_broker_list = 'embedded',
    kafka_topic_list = {{ bronze_topic | literal }},
    kafka_group_name = {{ (raw_consumer_group ~ '_sink') | literal }},
    kafka_format = 'Avro',
    kafka_max_rows_per_message = {{ bronze_rows_per_message }},
    output_format_avro_codec = 'deflate',
    output_format_avro_string_column_pattern = '.*',
    output_format_avro_rows_in_file = {{ bronze_rows_per_message }};

CREATE TABLE silver_trades (
    exchange LowCardinality(String),
    symbol LowCardinality(String),
    trade_id String,
    price Decimal128(8),
    quantity Decimal128(8),
    quote_volume Decimal128(8),
    timestamp DateTime64(3),
    side Enum8('BUY' = 1, 'SELL' = 2),
    validated_at DateTime64(3) DEFAULT now64(3)
) ENGINE = MergeTree()
PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (exchange, symbol, timestamp, trade_id)
TTL timestamp + INTERVAL 30 DAY;

{% for frame, window_start, partition, days in (
    ('1m', 'toStartOfMinute(timestamp)', 'toYYYYMMDD', 30),
    ('5m', 'toStartOfFiveMinutes(timestamp)', 'toYYYYMMDD', 30),
    ('15m', 'toStartOfFifteenMinutes(timestamp)', 'toYYYYMMDD', 30),
    ('30m', 'toStartOfInterval(timestamp, INTERVAL 30 MINUTE)', 'toYYYYMMDD', 30),
    ('1h', 'toStartOfHour(timestamp)', 'toYYYYMM', 90),
    ('1d', 'toStartOfDay(timestamp)', 'toYYYYMM', 365),
) %}
CREATE MATERIALIZED VIEW gold_ohlcv_{{ frame }}_mv
ENGINE = AggregatingMergeTree()
PARTITION BY {{ partition }}(window_start)
ORDER BY (exchange, symbol, window_start)
TTL window_start + INTERVAL {{ days }} DAY
AS SELECT
    exchange, symbol,
    {{ window_start }} AS window_start,
    argMinState(price, timestamp) AS open,
    maxState(price) AS high,
    minState(price) AS low,
    argMaxState(price, timestamp) AS close,
    sumState(quantity) AS volume,
    sumState(quote_volume) AS quote_volume,
    countState() AS trade_count
FROM silver_trades
GROUP BY exchange, symbol, window_start;

CREATE VIEW gold_ohlcv_{{ frame }} AS
SELECT
    exchange, symbol, window_start,
    argMinMerge(open) AS open,
    maxMerge(high) AS high,
    minMerge(low) AS low,
    argMaxMerge(close) AS close,
    sumMerge(volume) AS volume,
    sumMerge(quote_volume) AS quote_volume,
    countMerge(trade_count) AS trade_count
FROM gold_ohlcv_{{ frame }}_mv
GROUP BY exchange, symbol, window_start;
{% endfor %}

CREATE MATERIALIZED VIEW bronze_trades_sink_mv TO bronze_trades_sink AS
SELECT exchange, symbol, trade_id, price, quantity, timestamp, side
FROM bronze_trades;

CREATE MATERIALIZED VIEW bronze_trades_mv TO bronze_trades AS
SELECT
    exchange,
    symbol,
    trade_id,
    toFloat64OrZero(price) AS price,
    toFloat64OrZero(quantity) AS quantity,
    if(toUInt64OrZero(timestamp_raw) > 1e12,
       toDateTime64(toUInt64OrZero(timestamp_raw) / 1000, 3),
       toDateTime64(toUInt64OrZero(timestamp_raw), 3)
    ) AS timestamp,
    side,
    ingested_at
FROM trades_raw;

-- Fault 1: JSONExtractRaw keeps the quotes of a string. Every price would be 0 and every trade rejected.
CREATE MATERIALIZED VIEW trades_raw_mv TO trades_raw AS
SELECT
    JSONExtractString(raw_data, 'exchange') AS exchange,
    JSONExtractString(raw_data, 'symbol') AS symbol,
    JSONExtractString(raw_data, 'trade_id') AS trade_id,
    JSONExtractString(raw_data, 'price') AS price,
    JSONExtractString(raw_data, 'quantity') AS quantity,
    JSONExtractString(raw_data, 'timestamp') AS timestamp_raw,
    JSONExtractString(raw_data, 'side') AS side,
    raw_data AS raw_json,
    _topic, _partition, _offset,
    now64(3) AS ingested_at
FROM trades_raw_queue;
