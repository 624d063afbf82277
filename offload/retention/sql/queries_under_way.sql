-- Queries that began before a moment: they may still read a partition in the hot table that is about to leave.
SELECT count() AS under_way
FROM system.processes
WHERE elapsed * 1000000 > toUnixTimestamp64Micro(now64(6, 'UTC')) - {before_us:Int64}
  AND query_kind = 'Select'
