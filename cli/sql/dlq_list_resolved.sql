-- Raw messages that came through after they were rejected, newest first: the first rejection of each, how many it had, and
-- where it went; an empty filter matches everything.
SELECT letter.*, way.rejections AS rejections, way.landed AS landed, way.sent_at AS sent_at,
       way.replay_rules_version AS replay_rules_version
FROM dlq_trades_log AS letter FINAL
INNER JOIN
(
    SELECT raw_topic, raw_partition, raw_offset, published_at, argMin(reason, (rejected_at, reason)) AS reason,
           count() AS rejections, any(landed) AS landed, any(sent_at) AS sent_at,
           any(replay_rules_version) AS replay_rules_version
    FROM dlq_trades_log AS letter FINAL
    INNER JOIN (SELECT * FROM dlq_resolutions WHERE landed != '') AS resolution
        USING (raw_topic, raw_partition, raw_offset, published_at)
    GROUP BY raw_topic, raw_partition, raw_offset, published_at
) AS way USING (raw_topic, raw_partition, raw_offset, published_at, reason)
WHERE ({reason:String} = '' OR reason = {reason:String})
  AND ({exchange:String} = '' OR exchange = {exchange:String})
  AND ({symbol:String} = '' OR symbol = {symbol:String})
  AND ({trade_id:String} = '' OR trade_id = {trade_id:String})
  AND rejected_at >= toDateTime64({since:String}, 6, 'UTC')
  AND rejected_at < toDateTime64({until:String}, 6, 'UTC')
ORDER BY rejected_at DESC, raw_topic, raw_partition, raw_offset
LIMIT {limit:UInt64}
