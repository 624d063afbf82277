{#- A raw message as it was published; `ingested` (µs) says which rows to look at. -#}
SELECT
    raw_json,
    toUnixTimestamp64Milli(published_at) AS published
FROM {{ source }}
WHERE exchange = {exchange:String}
  AND ingested_at >= fromUnixTimestamp64Micro({ingested:Int64}, 'UTC')
  AND ingested_at <= fromUnixTimestamp64Micro({ingested:Int64}, 'UTC')
  AND _topic = {topic:String}
  AND _partition = {partition:UInt32}
  AND _offset = {offset:UInt64}
LIMIT 1
