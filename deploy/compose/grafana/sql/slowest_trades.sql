SELECT validated_at, exchange, symbol, trade_id, pipeline_seconds, producer_seconds, raw_seconds, bronze_seconds, queue_seconds
FROM pipeline_latency
WHERE $__timeFilter(validated_at) AND $__timeFilter(timestamp)
ORDER BY pipeline_seconds DESC
LIMIT 20
