-- Dead letters by reason: how many, where, since when, and one example.
SELECT
    reason,
    count() AS records,
    uniqExact(exchange, symbol) AS markets,
    min(rejected_at) AS first,
    max(rejected_at) AS last,
    argMax(value, rejected_at) AS latest_value
FROM dlq_trades
WHERE ({exchange:String} = '' OR exchange = {exchange:String})
  AND ({symbol:String} = '' OR symbol = {symbol:String})
  AND rejected_at >= toDateTime64({since:String}, 6, 'UTC')
  AND rejected_at < toDateTime64({until:String}, 6, 'UTC')
GROUP BY reason
ORDER BY records DESC, reason
