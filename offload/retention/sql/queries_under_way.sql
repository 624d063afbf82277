-- Queries that run since before a moment: they may still take a partition for hot that is about to leave.
SELECT count() AS under_way
FROM system.processes
WHERE elapsed * 1000000 > toUnixTimestamp64Micro(now64(6, 'UTC')) - {before_us:Int64}
  AND query_kind = 'Select'
