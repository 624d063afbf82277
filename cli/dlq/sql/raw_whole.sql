-- A whole raw message, unless it is longer than the limit; no row once Raw has dropped it.
SELECT if(length(raw_json) > {longest:UInt64}, '', raw_json) AS message, length(raw_json) AS bytes
FROM trades_raw
WHERE _topic = {topic:String} AND _partition = {partition:UInt32} AND _offset = {offset:UInt64}
  AND toUnixTimestamp64Milli(published_at) = {published_ms:Int64}
LIMIT 1
