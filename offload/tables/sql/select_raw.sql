-- cold.raw_trades: the rows of trades_raw that arrived in a window, redelivered messages included.
{% import '_macros.sql' as sql %}
SELECT
    toValidUTF8(t.exchange) AS exchange,
    toValidUTF8(t.symbol) AS symbol,
    toValidUTF8(t.trade_id) AS trade_id,
    toValidUTF8(t.price) AS price,
    toValidUTF8(t.quantity) AS quantity,
    toValidUTF8(t.timestamp_raw) AS timestamp_raw,
    toValidUTF8(t.side) AS side,
    toValidUTF8(t.sequence) AS sequence,
    toValidUTF8(toString(t.kind)) AS kind,
    toValidUTF8(t.matches) AS matches,
    t.raw_json AS raw_json,
    toString(t._topic) AS raw_topic,
    toInt64(t._partition) AS raw_partition,
    toInt64(t._offset) AS raw_offset,
    toDateTime64({{ sql.kafka_time('t.published_at') }}, 6, 'UTC') AS published_at,
    toDateTime64(t.received_at, 6, 'UTC') AS received_at,
    toDateTime64(t.ingested_at, 6, 'UTC') AS ingested_at
FROM {{ hot }} AS t
WHERE t.ingested_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND t.ingested_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
{% if partition %}
  AND t._topic = {key:String}
ORDER BY t.exchange, t.ingested_at, t._offset
{% endif %}
