-- The partitions of hot tables that have rows. Moved and dropped partitions leave empty parts for a while.
SELECT table, partition_id, toInt64(sum(rows)) AS part_rows
FROM system.parts
WHERE database = currentDatabase() AND table IN {tables:Array(String)} AND active
GROUP BY table, partition_id
HAVING part_rows > 0
ORDER BY table, partition_id
