-- The Bronze row behind a dead letter; no row once Bronze has let go of it, or merged it with another delivery.
SELECT *
FROM bronze_trades
WHERE raw_topic = %(topic)s AND raw_partition = %(partition)s AND raw_offset = %(offset)s
  AND toUnixTimestamp64Milli(published_at) = %(published_ms)s
ORDER BY ingested_at DESC
LIMIT 1
