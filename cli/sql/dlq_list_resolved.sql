-- Resolved dead letters and where their messages went, newest first; an empty filter matches everything.
SELECT letter.*, resolution.landed AS landed, resolution.sent_at AS sent_at, resolution.replay_rules_version AS replay_rules_version
FROM dlq_trades_log AS letter FINAL
INNER JOIN (SELECT * FROM dlq_resolutions WHERE landed != '') AS resolution
    USING (raw_topic, raw_partition, raw_offset, published_at)
WHERE (%(reason)s = '' OR reason = %(reason)s)
  AND (%(exchange)s = '' OR exchange = %(exchange)s)
  AND (%(symbol)s = '' OR symbol = %(symbol)s)
  AND rejected_at >= toDateTime64(%(since)s, 6, 'UTC')
  AND rejected_at < toDateTime64(%(until)s, 6, 'UTC')
ORDER BY rejected_at DESC, raw_topic, raw_partition, raw_offset
LIMIT %(limit)s
