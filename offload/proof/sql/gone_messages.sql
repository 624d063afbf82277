-- Offsets that Raw skipped, in the order of arrival: between two blocks of a partition, or within a block. A block is
-- the rows that arrived at one moment. If a block begins before the end of the block before it, the topic was created again
-- or messages were delivered again, so nothing is missing between the two.
SELECT
    toString(topic) AS raw_topic,
    partition AS raw_partition,
    hole.1 AS first_offset,
    hole.2 AS last_offset,
    hole.3 AS messages,
    toUnixTimestamp64Micro(arrived_at) AS arrived_us
FROM
(
    SELECT topic, partition, arrived_at, first, last, kept,
        lagInFrame(last, 1, first - 1) OVER (PARTITION BY topic, partition ORDER BY arrived_at) AS before
    FROM
    (
        SELECT
            _topic AS topic,
            _partition AS partition,
            ingested_at AS arrived_at,
            toInt64(min(_offset)) AS first,
            toInt64(max(_offset)) AS last,
            toInt64(uniqExact(_offset)) AS kept
        FROM trades_raw
        WHERE ingested_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
          AND ingested_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
        GROUP BY topic, partition, arrived_at
    )
)
ARRAY JOIN [(before + 1, first - 1, first - 1 - before), (first, last, last - first + 1 - kept)] AS hole
WHERE messages > 0
ORDER BY arrived_us, raw_topic, raw_partition
LIMIT {at_most:UInt32}
