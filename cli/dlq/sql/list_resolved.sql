-- Raw messages that came through after they were rejected, newest first: the first rejection of each, for how many reasons
-- it was rejected, and where it went; an empty filter matches everything. The log has the latest rejection for each reason;
-- the first one of a message that was sent again is noted.
SELECT dead_letter.* EXCEPT rejected_at, way.first.1 AS rejected_at, way.rejections AS rejections, way.landed AS landed,
       way.sent_at AS sent_at, way.replay_rules_version AS replay_rules_version
FROM dlq_trades_log AS dead_letter FINAL
INNER JOIN
(
    SELECT raw_topic, raw_partition, raw_offset, published_at, min(rejection.first) AS first, first.2 AS reason,
           sum(rejection.is_dead_letter) AS rejections, any(landed) AS landed, any(sent_at) AS sent_at,
           any(replay_rules_version) AS replay_rules_version
    FROM
    (
        SELECT raw_topic, raw_partition, raw_offset, published_at, tuple(rejected_at, toString(reason)) AS first,
               1 AS is_dead_letter
        FROM dlq_trades_log FINAL
        UNION ALL
        SELECT raw_topic, raw_partition, raw_offset, published_at, tuple(first.1, first.2), 0
        FROM dlq_first_rejections
    ) AS rejection
    INNER JOIN (SELECT * FROM dlq_resolutions WHERE landed != '') AS resolution
        USING (raw_topic, raw_partition, raw_offset, published_at)
    GROUP BY raw_topic, raw_partition, raw_offset, published_at
) AS way USING (raw_topic, raw_partition, raw_offset, published_at, reason)
WHERE ({reason:String} = '' OR reason = {reason:String})
  AND ({exchange:String} = '' OR exchange = {exchange:String})
  AND ({symbol:String} = '' OR symbol = {symbol:String})
  AND ({trade_id:String} = '' OR trade_id = {trade_id:String})
  AND way.first.1 >= toDateTime64({since:String}, 6, 'UTC')
  AND way.first.1 < toDateTime64({until:String}, 6, 'UTC')
ORDER BY way.first.1 DESC, raw_topic, raw_partition, raw_offset
LIMIT {limit:UInt64}
