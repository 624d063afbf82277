-- Partitions that a window's Raw or Bronze rows fall into; the day is the window's own.
SELECT
    toString({{ topic }}) AS key,
    {from_us:Int64} AS partition_from_us,
    {to_us:Int64} AS partition_to_us
FROM {{ hot }}
WHERE ingested_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND ingested_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
GROUP BY key
ORDER BY key
