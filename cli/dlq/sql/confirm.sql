-- Confirm messages that have landed, so that they stay resolved after their Silver partition has left the hot tier.
INSERT INTO dlq_replays
SELECT raw_topic, raw_partition, raw_offset, published_at, exchange, replay.symbol, timestamp, rules_version, rejected_at,
       replay.reason, replay.replay_id, replay.sent_at, resolution.landed, 1 AS is_confirmed
FROM dlq_replays AS replay FINAL
INNER JOIN (
    SELECT raw_topic, raw_partition, raw_offset, published_at, landed
    FROM dlq_resolutions
    WHERE landed != '' AND NOT is_confirmed
) AS resolution USING (raw_topic, raw_partition, raw_offset, published_at)
WHERE NOT replay.is_confirmed
