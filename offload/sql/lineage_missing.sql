-- Raw messages that are in none of Silver, duplicates and DLQ: what to look for.
SELECT toString(_topic) AS raw_topic, _partition AS raw_partition, _offset AS raw_offset,
       toUnixTimestamp64Milli(min(published_at)) AS published_ms, any(exchange) AS raw_exchange, any(symbol) AS raw_symbol,
       any(trade_id) AS raw_trade_id
FROM trades_raw
WHERE ingested_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND ingested_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
  AND (toString(_topic), _partition, _offset, published_at) NOT IN
      (SELECT toString(raw_topic), raw_partition, raw_offset, published_at FROM silver_trades)
  AND (toString(_topic), _partition, _offset, published_at) NOT IN
      (SELECT toString(raw_topic), raw_partition, raw_offset, published_at FROM duplicate_trades)
  AND (toString(_topic), _partition, _offset, published_at) NOT IN
      (SELECT toString(raw_topic), raw_partition, raw_offset, published_at FROM dlq_trades)
GROUP BY _topic, _partition, _offset, published_at
ORDER BY _topic, _partition, _offset
LIMIT {at_most:UInt32}
