-- The partitions (raw topics or providers) of an arrival hour, and their number of rows. An hour lies in one day.
SELECT
    toString({{ key }}) AS key,
    {from_us:Int64} AS partition_from_us,
    {to_us:Int64} AS partition_to_us,
    count() AS partition_rows
FROM {{ hot }}
WHERE {{ arrival }} >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND {{ arrival }} < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
GROUP BY key
ORDER BY key
