SELECT reason, exchange, symbol, count() AS dead_letters, argMax(value, rejected_at) AS latest_value, max(rejected_at) AS latest
FROM dlq_trades
WHERE $__timeFilter(rejected_at)
GROUP BY reason, exchange, symbol
ORDER BY dead_letters DESC
LIMIT 100
