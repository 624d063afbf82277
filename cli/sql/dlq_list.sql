-- Dead letters, newest first; an empty filter matches everything.
SELECT *
FROM dlq_trades
WHERE (%(reason)s = '' OR reason = %(reason)s)
  AND (%(exchange)s = '' OR exchange = %(exchange)s)
  AND (%(symbol)s = '' OR symbol = %(symbol)s)
  AND rejected_at >= toDateTime64(%(since)s, 6, 'UTC')
  AND rejected_at < toDateTime64(%(until)s, 6, 'UTC')
ORDER BY rejected_at DESC, raw_topic, raw_partition, raw_offset
LIMIT %(limit)s
