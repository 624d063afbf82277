-- Resolved dead letters and where their messages went, newest first; an empty filter matches everything.
SELECT letter.*, resolution.landed AS landed, resolution.sent_at AS sent_at, resolution.replay_rules_version AS replay_rules_version
FROM dlq_trades_log AS letter FINAL
INNER JOIN (SELECT * FROM dlq_resolutions WHERE landed != '') AS resolution
    USING (raw_topic, raw_partition, raw_offset, published_at)
WHERE ({reason:String} = '' OR reason = {reason:String})
  AND ({exchange:String} = '' OR exchange = {exchange:String})
  AND ({symbol:String} = '' OR symbol = {symbol:String})
  AND rejected_at >= toDateTime64({since:String}, 6, 'UTC')
  AND rejected_at < toDateTime64({until:String}, 6, 'UTC')
ORDER BY rejected_at DESC, raw_topic, raw_partition, raw_offset
LIMIT {limit:UInt64}
