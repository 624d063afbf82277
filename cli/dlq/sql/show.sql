-- Dead letters, open and resolved, by raw coordinates or by filter; newest first.
SELECT dead_letter.*, resolution.landed AS landed, resolution.sent_at AS sent_at, resolution.replay_rules_version AS replay_rules_version
FROM dlq_trades_log AS dead_letter FINAL
LEFT JOIN dlq_resolutions AS resolution USING (raw_topic, raw_partition, raw_offset, published_at)
WHERE ({topic:String} = '' OR (raw_topic = {topic:String} AND raw_partition = {partition:UInt32} AND raw_offset = {offset:UInt64}))
  AND ({reason:String} = '' OR reason = {reason:String})
  AND ({exchange:String} = '' OR exchange = {exchange:String})
  AND ({symbol:String} = '' OR symbol = {symbol:String})
  AND ({trade_id:String} = '' OR trade_id = {trade_id:String})
  AND rejected_at >= toDateTime64({since:String}, 6, 'UTC')
  AND rejected_at < toDateTime64({until:String}, 6, 'UTC')
ORDER BY rejected_at DESC, raw_topic, raw_partition, raw_offset, reason
LIMIT {limit:UInt64}
