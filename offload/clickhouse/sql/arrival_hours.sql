-- Hot rows by hour of arrival.
-- FINAL where the rows of an hour may be merged before or after the hour is offloaded.
SELECT
    toInt64(toUnixTimestamp(toStartOfHour({{ arrival }}, 'UTC'))) * 1000000 AS hour_us,
    count() AS hot_rows
FROM {{ hot }}{{ ' FINAL' if final else '' }}
WHERE {{ arrival }} >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND {{ arrival }} < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
GROUP BY hour_us
ORDER BY hour_us
