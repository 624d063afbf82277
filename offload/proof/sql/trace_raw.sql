-- The raw messages of one trade, with the column names of the cold table.
{% import '_macros.sql' as sql %}
SELECT exchange, symbol, trade_id, price, quantity, timestamp_raw, side, sequence, kind, matches,
       toValidUTF8(raw_json) AS raw_json, toString(_topic) AS raw_topic, _partition AS raw_partition,
       _offset AS raw_offset, {{ sql.kafka_time('trades_raw.published_at') }} AS published_at, received_at, ingested_at
FROM trades_raw
WHERE exchange = {exchange:String}
  AND symbol IN {symbols:Array(String)}
  AND trade_id = {trade_id:String}
ORDER BY raw_topic, raw_partition, raw_offset
LIMIT 100
