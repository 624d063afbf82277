-- Raw messages that came through after they were rejected, newest first: the first rejection of each, how many it had, and
-- where it went; an empty filter matches everything.
WITH resolved AS (SELECT * FROM dlq_resolutions WHERE landed != '')
SELECT letter.*, first.rejections AS rejections, resolution.landed AS landed, resolution.sent_at AS sent_at,
       resolution.replay_rules_version AS replay_rules_version
FROM dlq_trades_log AS letter FINAL
INNER JOIN
(
    SELECT raw_topic, raw_partition, raw_offset, published_at, argMin(reason, (rejected_at, reason)) AS reason,
           count() AS rejections
    FROM dlq_trades_log FINAL
    WHERE (raw_topic, raw_partition, raw_offset, published_at) IN (
        SELECT raw_topic, raw_partition, raw_offset, published_at FROM resolved)
    GROUP BY raw_topic, raw_partition, raw_offset, published_at
) AS first USING (raw_topic, raw_partition, raw_offset, published_at, reason)
INNER JOIN resolved AS resolution USING (raw_topic, raw_partition, raw_offset, published_at)
WHERE ({reason:String} = '' OR reason = {reason:String})
  AND ({exchange:String} = '' OR exchange = {exchange:String})
  AND ({symbol:String} = '' OR symbol = {symbol:String})
  AND ({trade_id:String} = '' OR trade_id = {trade_id:String})
  AND rejected_at >= toDateTime64({since:String}, 6, 'UTC')
  AND rejected_at < toDateTime64({until:String}, 6, 'UTC')
ORDER BY rejected_at DESC, raw_topic, raw_partition, raw_offset
LIMIT {limit:UInt64}
