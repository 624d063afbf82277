-- Partitions (raw topic) that a window's rows fall into, and their rows; the day is the window's own.
SELECT
    toString({{ topic }}) AS key,
    {from_us:Int64} AS partition_from_us,
    {to_us:Int64} AS partition_to_us,
    count() AS partition_rows
FROM {{ hot }}
WHERE {{ arrival }} >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND {{ arrival }} < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
GROUP BY key
ORDER BY key
