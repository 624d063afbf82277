-- The trades of Silver in a candle's window, with the types of the cold table.
{% import '_macros.sql' as sql %}
SELECT trade_id, timestamp, CAST(sequence AS Decimal(20, 0)) AS sequence, price, quantity, toString(side) AS side,
       toString(trade_kind) AS trade_kind, toInt64(match_count) AS match_count, toString(raw_topic) AS raw_topic,
       toInt64(raw_partition) AS raw_partition, toInt64(raw_offset) AS raw_offset,
       toDateTime64({{ sql.kafka_time('silver_trades.published_at') }}, 6, 'UTC') AS published_at, ingested_at
FROM silver_trades
WHERE exchange = {exchange:String} AND symbol = {symbol:String}
  AND timestamp >= fromUnixTimestamp64Micro({start_us:Int64}, 'UTC')
  AND timestamp < fromUnixTimestamp64Micro({end_us:Int64}, 'UTC')
