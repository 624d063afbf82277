-- Dead letters by reason: how many, where, since when, and one example.
SELECT
    reason,
    count() AS records,
    uniqExact(exchange, symbol) AS markets,
    min(rejected_at) AS first,
    max(rejected_at) AS last,
    argMax(value, rejected_at) AS latest_value
FROM dlq_trades
WHERE (%(exchange)s = '' OR exchange = %(exchange)s)
  AND (%(symbol)s = '' OR symbol = %(symbol)s)
  AND rejected_at >= toDateTime64(%(since)s, 6, 'UTC')
  AND rejected_at < toDateTime64(%(until)s, 6, 'UTC')
GROUP BY reason
ORDER BY records DESC, reason
