-- What has become of the messages of one replay: `again` were rejected once more, `pending` are in flight.
SELECT
    countIf(landed = 'silver') AS silver,
    countIf(landed = 'duplicates') AS duplicates,
    countIf(landed = '' AND newest > last_rejected_at) AS again,
    countIf(landed = '' AND newest <= last_rejected_at) AS pending,
    anyIf(newest_rules, landed = '' AND newest > last_rejected_at) AS again_by
FROM
(
    SELECT raw_topic, raw_partition, raw_offset, published_at, landed, last_rejected_at
    FROM dlq_resolutions
    WHERE replay_id = {replay_id:String}
) AS replay
LEFT JOIN
(
    SELECT raw_topic, raw_partition, raw_offset, published_at, max(rejected_at) AS newest,
           toString(argMax(rules_version, rejected_at)) AS newest_rules
    FROM dlq_trades_log
    WHERE (raw_topic, raw_partition, raw_offset, published_at) IN (
        SELECT raw_topic, raw_partition, raw_offset, published_at
        FROM dlq_replays FINAL
        WHERE replay_id = {replay_id:String})
    GROUP BY raw_topic, raw_partition, raw_offset, published_at
) AS log USING (raw_topic, raw_partition, raw_offset, published_at)
