{#- The trades of a candle with the Kafka messages that they came in. -#}
SELECT
    trade_id,
    toString(price) AS price,
    toString(quantity) AS quantity,
    toString(side) AS side,
    trade_kind,
    toUnixTimestamp64Micro(timestamp) AS time,
    raw_topic,
    raw_partition,
    raw_offset,
    toUnixTimestamp64Milli(published_at) AS published,
    toUnixTimestamp64Micro(received_at) AS received,
    toUnixTimestamp64Micro(ingested_at) AS ingested,
    toUnixTimestamp64Micro(validated_at) AS validated,
    rules_version
FROM {{ trades }} AS silver
WHERE exchange = {exchange:String}
  AND symbol = {symbol:String}
  AND timestamp >= fromUnixTimestamp64Second({from:Int64}, 'UTC')
  AND timestamp < fromUnixTimestamp64Second({until:Int64}, 'UTC')
ORDER BY silver.timestamp, sequence, trade_id
LIMIT {limit:UInt32} OFFSET {offset:UInt32}
