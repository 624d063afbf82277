-- Publications that have begun and not ended.
SELECT publication, groupUniqArrayIf(toString(exchange), step = 'begun') AS keys,
       toInt64(toUnixTimestamp(any(day))) * 1000000 AS from_us, anyIf(toString(cover), step = 'begun') AS cover,
       countIf(step = 'switched') > 0 AS is_switched, argMax(owner, noted_at) AS owner,
       toUnixTimestamp64Micro(max(lease_until)) AS lease_us
FROM rederivations
GROUP BY publication
HAVING countIf(step = 'ended') = 0
ORDER BY min(noted_at)
