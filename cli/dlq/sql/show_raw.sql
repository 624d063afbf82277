-- The first 64 KiB of the raw message of a dead letter; no row once Raw has dropped it.
SELECT substring(raw_json, 1, 65536) AS message, length(raw_json) AS bytes
FROM trades_raw
WHERE _topic = {topic:String} AND _partition = {partition:UInt32} AND _offset = {offset:UInt64}
  AND toUnixTimestamp64Milli(published_at) = {published_ms:Int64}
LIMIT 1
