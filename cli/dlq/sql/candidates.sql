-- The next open dead letters to be validated again, one for each raw message, with the key of their Bronze shard.
-- The latest rejection of a message counts. The raw message is included where Bronze could not read it.
SELECT
    toString(exchange) AS exchange, symbol, trade_id, price_text, quantity_text, timestamp, timestamp_raw, side, sequence,
    toString(kind) AS kind, matches,
    toString(defect) AS defect, toString(raw_topic) AS raw_topic, raw_partition, raw_offset, published_at, received_at,
    ingested_at, toString(reason) AS reason, rejected_at,
    if(has({from_bronze:Array(String)}, toString(reason)), payload, '') AS payload, payload_bytes,
    toString(payload_encoding) AS payload_encoding,
    toString(cityHash64(dlq_trades.exchange, dlq_trades.symbol) % {shards:UInt32}) AS shard
FROM dlq_trades
WHERE reason != ''
  AND ({reason:String} = '' OR reason = {reason:String})
  AND ({exchange:String} = '' OR exchange = {exchange:String})
  AND ({symbol:String} = '' OR symbol = {symbol:String})
  AND ({trade_id:String} = '' OR trade_id = {trade_id:String})
  AND rejected_at >= toDateTime64({since:String}, 6, 'UTC')
  AND rejected_at < toDateTime64({until:String}, 6, 'UTC')
  AND (toString(dlq_trades.raw_topic), raw_partition, raw_offset, toUnixTimestamp64Milli(published_at))
    > ({after_topic:String}, {after_partition:UInt32}, {after_offset:UInt64}, {after_published_ms:Int64})
ORDER BY toString(dlq_trades.raw_topic), raw_partition, raw_offset, published_at, rejected_at DESC
LIMIT 1 BY dlq_trades.raw_topic, raw_partition, raw_offset, published_at
LIMIT {page:UInt32}
