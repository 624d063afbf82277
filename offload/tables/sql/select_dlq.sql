-- cold.dlq_trades: the dead letters of dlq_trades_log that were refused in a window, each message and reason once.
-- PREWHERE is applied before FINAL, so FINAL merges only the rows of the window.
{% import '_macros.sql' as sql %}
SELECT
    toValidUTF8(toString(t.reason)) AS reason,
    toValidUTF8(toString(t.field)) AS field,
    toValidUTF8(t.value) AS value,
    toValidUTF8(t.rule) AS rule,
    toValidUTF8(t.`limit`) AS `limit`,
    toValidUTF8(toString(t.exchange)) AS exchange,
    toValidUTF8(t.symbol) AS symbol,
    toValidUTF8(t.trade_id) AS trade_id,
    toValidUTF8(t.price_text) AS price_text,
    toValidUTF8(t.quantity_text) AS quantity_text,
    toValidUTF8(t.timestamp_raw) AS timestamp_raw,
    toValidUTF8(t.side) AS side,
    toValidUTF8(t.sequence) AS sequence,
    toValidUTF8(toString(t.kind)) AS kind,
    toValidUTF8(t.matches) AS matches,
    toDateTime64(t.timestamp, 6, 'UTC') AS timestamp,
    toValidUTF8(toString(t.defect)) AS defect,
    toValidUTF8(toString(t.raw_topic)) AS raw_topic,
    toInt64(t.raw_partition) AS raw_partition,
    toInt64(t.raw_offset) AS raw_offset,
    toDateTime64({{ sql.kafka_time('t.published_at') }}, 6, 'UTC') AS published_at,
    toDateTime64(t.received_at, 6, 'UTC') AS received_at,
    toDateTime64(t.ingested_at, 6, 'UTC') AS ingested_at,
    toDateTime64(t.rejected_at, 6, 'UTC') AS rejected_at,
    toValidUTF8(toString(t.processor_version)) AS processor_version,
    toValidUTF8(toString(t.rules_version)) AS rules_version,
    t.payload AS payload,
    toInt64(t.payload_bytes) AS payload_bytes,
    toValidUTF8(toString(t.payload_encoding)) AS payload_encoding,
    toInt64(t.dlq_partition) AS dlq_partition,
    toInt64(t.dlq_offset) AS dlq_offset
FROM {{ hot }} AS t FINAL
PREWHERE t.rejected_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
     AND t.rejected_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
{% if event_day %}
     AND t.published_at >= fromUnixTimestamp64Micro({event_from_us:Int64}, 'UTC')
     AND t.published_at < fromUnixTimestamp64Micro({event_to_us:Int64}, 'UTC')
{% endif %}
{% if pieces %}
     AND cityHash64(t.raw_offset) % {pieces:Int64} = {piece:Int64}
{% endif %}
{% if partition %}
     AND t.raw_topic = {key:String}
ORDER BY t.exchange, t.symbol, t.rejected_at
{% endif %}
