-- The partitions (exchange, day of event time) of the Silver rows of an arrival hour.
SELECT
    toString(exchange) AS key,
    toUnixTimestamp64Micro(timestamp) - positiveModulo(toUnixTimestamp64Micro(timestamp), 86400000000)
        AS partition_from_us,
    partition_from_us + 86400000000 AS partition_to_us,
    count() AS partition_rows
FROM silver_trades
WHERE validated_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND validated_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
GROUP BY key, partition_from_us
ORDER BY key, partition_from_us
