-- Raw messages of one partition by offset: at most their first bytes, and their full length.
SELECT _offset, toUnixTimestamp64Milli(published_at) AS published_ms,
  substring(raw_json, 1, {most:UInt32}) AS payload, length(raw_json) AS payload_bytes
FROM trades_raw
WHERE ({any_exchange:UInt8} OR exchange IN {exchanges:Array(String)})
  AND ingested_at BETWEEN fromUnixTimestamp64Micro({earliest:Int64}, 'UTC')
    AND fromUnixTimestamp64Micro({latest:Int64}, 'UTC')
  AND _topic = {topic:String} AND _partition = {partition:UInt32} AND _offset IN {offsets:Array(UInt64)}
LIMIT 1 BY _offset, published_at
