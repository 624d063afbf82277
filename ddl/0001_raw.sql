-- Raw: every Kafka message byte for byte, and its fields as text.

-- RawBLOB, because a format that parses raises an error on a malformed message, and the consumer stops.
CREATE TABLE IF NOT EXISTS {{ db }}.trades_raw_queue{{ on_cluster }}
(
    raw_data String
)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = {{ kafka_brokers | literal }},
    kafka_topic_list = {{ raw_topics | join(',') | literal }},
    kafka_group_name = {{ raw_consumer_group | literal }},
    kafka_format = 'RawBLOB',
    kafka_flush_interval_ms = {{ kafka_flush_interval_ms }},
    kafka_max_block_size = {{ kafka_max_block_rows }},
    kafka_poll_max_batch_size = {{ kafka_max_block_rows }};

CREATE TABLE IF NOT EXISTS {{ db }}.trades_raw{{ on_cluster }}
(
    exchange String CODEC(ZSTD(1)),
    symbol String CODEC(ZSTD(1)),
    trade_id String CODEC(ZSTD(1)),
    price String CODEC(ZSTD(1)),
    quantity String CODEC(ZSTD(1)),
    timestamp_raw String CODEC(ZSTD(1)),
    side String CODEC(ZSTD(1)),
    sequence String CODEC(ZSTD(1)),
    raw_json String CODEC(ZSTD(1)),
    _topic LowCardinality(String),
    _partition UInt32 CODEC(T64, ZSTD(1)),
    _offset UInt64 CODEC(Delta, ZSTD(1)),
    published_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    received_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    ingested_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = {{ sql.merge_tree() }}
PARTITION BY toYYYYMMDD(ingested_at)
ORDER BY (exchange, ingested_at, _offset)
COMMENT 'Every raw message byte for byte; (_topic, _partition, _offset, published_at) identifies it';

-- Our producers write all fields as strings without escapes in a fixed order; `kind` and `matches` may be absent. The
-- JSON parser reads such a message as it is. In any other message, numbers are first turned into strings, because the
-- parser prints a number as a double (1.50 becomes 1.5). To this end every string token is followed by byte 1, by the
-- number after its colon if there is one, and by byte 2; neither byte occurs in valid JSON. A message over the limit is
-- not prepared in this way, because it is rejected later.
CREATE MATERIALIZED VIEW IF NOT EXISTS {{ db }}.trades_raw_mv{{ on_cluster }} TO {{ db }}.trades_raw
AS
WITH
    match(queue.raw_data, $re$^\{"exchange":"[^"\\]*","symbol":"[^"\\]*","trade_id":"[^"\\]*","price":"[^"\\]*","quantity":"[^"\\]*","timestamp":"[^"\\]*","side":"[^"\\]*","sequence":"[^"\\]*",(?:"kind":"[^"\\]*",)?(?:"matches":"[^"\\]*",)?"received_at":[0-9]{1,18},"payload":"$re$) AS is_canonical,
    multiIf(
        is_canonical,
        queue.raw_data,
        NOT match(queue.raw_data, '^[ \\t\\r\\n]*\\{[^\\x01\\x02]*$'),
        '',
        length(queue.raw_data) > {{ max_message_bytes }},
        queue.raw_data,
        translate(replaceAll(
            replaceRegexpAll(
                queue.raw_data,
                $re$("(?:[^"\\]|\\.)*")(?:([ \t\r\n]*:[ \t\r\n]*)(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?))?$re$,
                '\\1\\2\x01\\3\x02'),
            '\x01\x02', ''), '\x01\x02', '""')
    ) AS document,
    JSONExtract(document, 'Tuple(exchange String, symbol String, trade_id String, price String, quantity String, timestamp String, side String, sequence String, kind String, matches String, received_at String)') AS envelope,
    toInt64OrZero(envelope.received_at) AS received_micros,
    ifNull(toUnixTimestamp64Milli(queue._timestamp_ms), toInt64(0)) AS published_ms
SELECT
    envelope.exchange AS exchange,
    envelope.symbol AS symbol,
    envelope.trade_id AS trade_id,
    envelope.price AS price,
    envelope.quantity AS quantity,
    envelope.timestamp AS timestamp_raw,
    envelope.side AS side,
    envelope.sequence AS sequence,
    envelope.kind AS kind,
    envelope.matches AS matches,
    queue.raw_data AS raw_json,
    queue._topic AS _topic,
    toUInt32(queue._partition) AS _partition,
    queue._offset AS _offset,
    fromUnixTimestamp64Milli({{ sql.bounded_ms('published_ms') }}, 'UTC') AS published_at,
    {{ sql.micros_or_epoch('received_micros') }} AS received_at,
    now64(6, 'UTC') AS ingested_at
FROM {{ db }}.trades_raw_queue AS queue;
