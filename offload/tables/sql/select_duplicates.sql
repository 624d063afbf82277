-- cold.duplicate_trades: the rows of duplicate_trades that were seen in a window, each raw message once.
-- PREWHERE is applied before FINAL, so FINAL merges only the rows of the window.
{% import '_macros.sql' as sql %}
SELECT
    toString(t.exchange) AS exchange,
    toString(t.symbol) AS symbol,
    toValidUTF8(t.trade_id) AS trade_id,
    toDateTime64(t.timestamp, 6, 'UTC') AS timestamp,
    toString(t.raw_topic) AS raw_topic,
    toInt64(t.raw_partition) AS raw_partition,
    toInt64(t.raw_offset) AS raw_offset,
    toDateTime64({{ sql.kafka_time('t.published_at') }}, 6, 'UTC') AS published_at,
    toInt64(t.bronze_partition) AS bronze_partition,
    toInt64(t.bronze_offset) AS bronze_offset,
    toValidUTF8(t.insert_token) AS insert_token,
    toDateTime64(t.seen_at, 6, 'UTC') AS seen_at
FROM {{ hot }} AS t FINAL
PREWHERE t.seen_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
     AND t.seen_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
{% if event_day %}
     AND t.published_at >= fromUnixTimestamp64Micro({event_from_us:Int64}, 'UTC')
     AND t.published_at < fromUnixTimestamp64Micro({event_to_us:Int64}, 'UTC')
{% endif %}
{% if pieces %}
     AND cityHash64(t.raw_offset) % {pieces:Int64} = {piece:Int64}
{% endif %}
{% if partition %}
     AND t.raw_topic = {key:String}
ORDER BY t.exchange, t.symbol, t.timestamp, t.trade_id
{% endif %}
