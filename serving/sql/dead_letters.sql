{#- The newest open dead letters; an empty filter lets all pass. -#}
SELECT
    toString(reason) AS reason,
    toString(field) AS field,
    substring(value, 1, 1000) AS value,
    rule,
    limit,
    toString(exchange) AS exchange,
    symbol,
    trade_id,
    raw_topic,
    raw_partition,
    raw_offset,
    toUnixTimestamp64Milli(published_at) AS published,
    toUnixTimestamp64Milli(toDateTime64(rejected_at, 3, 'UTC')) AS rejected,
    rules_version,
    substring(payload, 1, 8000) AS payload,
    payload_bytes,
    payload_encoding
FROM dlq_trades
WHERE ({reason:String} = '' OR reason = {reason:String})
  AND ({exchange:String} = '' OR exchange = {exchange:String})
  AND ({symbol:String} = '' OR symbol = {symbol:String})
ORDER BY dlq_trades.rejected_at DESC, raw_topic, raw_partition, raw_offset
LIMIT {limit:UInt32}
