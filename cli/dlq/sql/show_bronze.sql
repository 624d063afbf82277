-- The Bronze row of a dead letter; no row once Bronze has dropped it, or merged it with another delivery.
SELECT *
FROM bronze_trades
WHERE raw_topic = {topic:String} AND raw_partition = {partition:UInt32} AND raw_offset = {offset:UInt64}
  AND toUnixTimestamp64Milli(published_at) = {published_ms:Int64}
ORDER BY ingested_at DESC
LIMIT 1
