-- The hours in which a partition's rows arrived.
SELECT DISTINCT toInt64(toUnixTimestamp(toStartOfHour({{ arrival }}, 'UTC'))) AS hour_s
FROM {{ table }}
WHERE _partition_id = {partition:String}
ORDER BY hour_s
