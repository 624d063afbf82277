SELECT rejected_at, reason, exchange, symbol, trade_id, field, value, raw_topic, raw_partition, raw_offset, left(payload, 200) AS payload
FROM dlq_trades
WHERE $__timeFilter(rejected_at)
ORDER BY rejected_at DESC
LIMIT 50
