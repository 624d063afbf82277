-- Raw messages that Silver holds of one market, in a span of time (µs) and of offsets.
SELECT toString(raw_topic) AS raw_topic, raw_partition, raw_offset, published_at FROM silver_trades
WHERE exchange = {exchange:String} AND symbol = {symbol:String}
  AND timestamp BETWEEN fromUnixTimestamp64Micro({earliest:Int64}, 'UTC')
    AND fromUnixTimestamp64Micro({latest:Int64}, 'UTC')
  AND raw_offset BETWEEN {first:UInt64} AND {last:UInt64}
