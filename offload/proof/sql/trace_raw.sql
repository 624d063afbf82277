-- The raw messages of one trade, with the column names of the cold table; the message as hexadecimal digits, since it
-- need not be UTF-8. They are found by the trade's id, or (`place`) by the coordinates of Silver's row: a message that
-- Bronze could not read has no id.
{% import '_macros.sql' as sql %}
SELECT exchange, symbol, trade_id, price, quantity, timestamp_raw, side, sequence, kind, matches,
       hex(raw_json) AS raw_json, toString(_topic) AS raw_topic, _partition AS raw_partition,
       _offset AS raw_offset, {{ sql.kafka_time('trades_raw.published_at') }} AS published_at, received_at, ingested_at
FROM trades_raw
{% if place %}
WHERE _topic = {raw_topic:String} AND _partition = {raw_partition:UInt32} AND _offset = {raw_offset:UInt64}
  AND {{ sql.kafka_time('trades_raw.published_at') }} = fromUnixTimestamp64Milli({published_ms:Int64}, 'UTC')
{% else %}
WHERE exchange = {exchange:String}
  AND symbol IN {symbols:Array(String)}
  AND trade_id = {trade_id:String}
{% endif %}
ORDER BY raw_topic, raw_partition, raw_offset
LIMIT 100
