-- Bronze: one row for each raw message, with types, a normalised time, and `defect` if the row cannot be a trade.

-- Rows merge only if they are the same trade in every respect. A malformed row is identified by its coordinates, and a
-- second version of a trade id never replaces the first one.
CREATE TABLE IF NOT EXISTS {{ db }}.bronze_trades{{ on_cluster }}
(
    exchange LowCardinality(String),
    symbol String CODEC(ZSTD(1)),
    trade_id String CODEC(ZSTD(1)),
    price Nullable(Float64) COMMENT 'for a look only: price_text is the truth' CODEC(ZSTD(1)),
    quantity Nullable(Float64) COMMENT 'for a look only: quantity_text is the truth' CODEC(ZSTD(1)),
    timestamp DateTime64(6, 'UTC') COMMENT 'ingested_at where timestamp_raw was unreadable' CODEC(DoubleDelta, ZSTD(1)),
    side LowCardinality(String),
    ingested_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    price_text String CODEC(ZSTD(1)),
    quantity_text String CODEC(ZSTD(1)),
    timestamp_raw String CODEC(ZSTD(1)),
    sequence String CODEC(ZSTD(1)),
    defect LowCardinality(String) COMMENT 'empty, or the reason code of what Bronze could not read',
    raw_topic LowCardinality(String),
    raw_partition UInt32 CODEC(T64, ZSTD(1)),
    raw_offset UInt64 CODEC(Delta, ZSTD(1)),
    published_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    received_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = {{ sql.merge_tree('Replacing', 'ingested_at') }}
PARTITION BY toYYYYMMDD(timestamp)
PRIMARY KEY (exchange, symbol, trade_id)
ORDER BY (
    exchange, symbol, trade_id,
    if(defect = '' AND trade_id != '',
       concat(price_text, ' ', quantity_text, ' ', timestamp_raw, ' ', side, ' ', sequence),
       concat(raw_topic, ' ', toString(raw_partition), ' ', toString(raw_offset), ' ', toString(published_at)))
)
COMMENT 'One row a raw message, typed; redeliveries merge. defect says what could not be read';

-- No trade has a field of more than 256 bytes. A longer one counts as too large and is cut, so that messages of the
-- Bronze topic are bounded. trades_raw has the whole field.
CREATE MATERIALIZED VIEW IF NOT EXISTS {{ db }}.bronze_trades_mv{{ on_cluster }} TO {{ db }}.bronze_trades
AS
WITH
    raw.symbol = '' AND raw.trade_id = '' AND raw.price = '' AND raw.quantity = '' AND raw.timestamp_raw = '' AS is_bare,
    greatest(length(raw.exchange), length(raw.symbol), length(raw.trade_id), length(raw.price), length(raw.quantity), length(raw.timestamp_raw), length(raw.side), length(raw.sequence), length(raw.kind), length(raw.matches)) > 256 AS is_overlong,
    if(is_overlong, 64, 256) AS longest,
    {{ sql.micros_of('raw.timestamp_raw') }},
    {{ sql.is_plausible('micros') }} AS has_time,
    toFloat64OrNull(raw.price) AS price_float,
    toFloat64OrNull(raw.quantity) AS quantity_float
SELECT
    {% macro bounded(column) %}substringUTF8(raw.{{ column }}, 1, longest){% endmacro %}
    {{ bounded('exchange') }} AS exchange,
    {{ bounded('symbol') }} AS symbol,
    {{ bounded('trade_id') }} AS trade_id,
    if(isFinite(price_float), price_float, NULL) AS price,
    if(isFinite(quantity_float), quantity_float, NULL) AS quantity,
    if(has_time, fromUnixTimestamp64Micro(micros, 'UTC'), raw.ingested_at) AS timestamp,
    {{ bounded('side') }} AS side,
    raw.ingested_at AS ingested_at,
    {{ bounded('price') }} AS price_text,
    {{ bounded('quantity') }} AS quantity_text,
    {{ bounded('timestamp_raw') }} AS timestamp_raw,
    {{ bounded('sequence') }} AS sequence,
    {{ bounded('kind') }} AS kind,
    {{ bounded('matches') }} AS matches,
    multiIf(
        is_bare AND raw.exchange = '' AND raw.side = '' AND raw.sequence = '' AND JSONType(raw.raw_json) != 'Object', 'malformed_envelope',
        length(raw.raw_json) > {{ max_message_bytes }} OR is_overlong, 'message_too_large',
        is_bare, multiIf(
            NOT JSONHas(raw.raw_json, 'payload'), 'unrecognised_message',
            match(JSONExtractString(raw.raw_json, 'payload') AS payload, '^\\s*$'), 'empty_message',
            JSONExtractString(raw.raw_json, 'payload_encoding') = 'base64' OR NOT isValidJSON(payload), 'malformed_payload',
            'unrecognised_message'),
        raw.timestamp_raw = '', 'timestamp_missing',
        NOT has_time, 'timestamp_invalid',
        '') AS defect,
    raw._topic AS raw_topic,
    raw._partition AS raw_partition,
    raw._offset AS raw_offset,
    raw.published_at AS published_at,
    raw.received_at AS received_at
FROM {{ db }}.trades_raw AS raw;
