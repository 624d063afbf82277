-- cold.bronze_trades: the rows of bronze_trades that arrived in a window, each sorting key once.
-- The hot table drops a repeated row when parts merge, at an unknown time. PREWHERE is applied before FINAL, so FINAL
-- merges only the rows of the window, and the result is the same before and after such a merge within the window.
-- A streaming merge keeps no keys in memory (LIMIT 1 BY took 500 MB for 3 million).
{% import '_macros.sql' as sql %}
SELECT
    toValidUTF8(t.exchange) AS exchange,
    toValidUTF8(t.symbol) AS symbol,
    toValidUTF8(t.trade_id) AS trade_id,
    t.price AS price,
    t.quantity AS quantity,
    toDateTime64(t.timestamp, 6, 'UTC') AS timestamp,
    toValidUTF8(t.side) AS side,
    toDateTime64(t.ingested_at, 6, 'UTC') AS ingested_at,
    toValidUTF8(t.price_text) AS price_text,
    toValidUTF8(t.quantity_text) AS quantity_text,
    toValidUTF8(t.timestamp_raw) AS timestamp_raw,
    toValidUTF8(t.sequence) AS sequence,
    toValidUTF8(toString(t.kind)) AS kind,
    toValidUTF8(t.matches) AS matches,
    toString(t.defect) AS defect,
    toString(t.raw_topic) AS raw_topic,
    toInt64(t.raw_partition) AS raw_partition,
    toInt64(t.raw_offset) AS raw_offset,
    toDateTime64({{ sql.kafka_time('t.published_at') }}, 6, 'UTC') AS published_at,
    toDateTime64(t.received_at, 6, 'UTC') AS received_at
FROM {{ hot }} AS t FINAL
PREWHERE t.ingested_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
     AND t.ingested_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
{% if event_day %}
     AND t.timestamp >= fromUnixTimestamp64Micro({event_from_us:Int64}, 'UTC')
     AND t.timestamp < fromUnixTimestamp64Micro({event_to_us:Int64}, 'UTC')
{% endif %}
{% if pieces %}
     AND cityHash64(t.trade_id) % {pieces:Int64} = {piece:Int64}
{% endif %}
{% if partition %}
     AND t.raw_topic = {key:String}
ORDER BY t.exchange, t.symbol, t.timestamp, t.trade_id
{% endif %}
