-- Dead letters, newest first; an empty filter matches everything.
SELECT *
FROM dlq_trades
WHERE ({reason:String} = '' OR reason = {reason:String})
  AND ({exchange:String} = '' OR exchange = {exchange:String})
  AND ({symbol:String} = '' OR symbol = {symbol:String})
  AND ({trade_id:String} = '' OR trade_id = {trade_id:String})
  AND rejected_at >= toDateTime64({since:String}, 6, 'UTC')
  AND rejected_at < toDateTime64({until:String}, 6, 'UTC')
ORDER BY rejected_at DESC, raw_topic, raw_partition, raw_offset
LIMIT {limit:UInt64}
