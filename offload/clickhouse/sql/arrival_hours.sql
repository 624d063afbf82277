-- Rows by hour of arrival: which windows there are to offload.
-- FINAL where the rows of a window may be merged before as well as after it is offloaded.
SELECT
    toInt64(toUnixTimestamp(toStartOfHour({{ arrival }}, 'UTC'))) * 1000000 AS window_us,
    count() AS hot_rows
FROM {{ hot }}{{ ' FINAL' if final else '' }}
WHERE {{ arrival }} >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND {{ arrival }} < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
GROUP BY window_us
ORDER BY window_us
