-- The partitions of a hot table that have rows. Moved and dropped partitions leave empty parts for a while.
SELECT partition_id, toInt64(sum(rows)) AS part_rows
FROM system.parts
WHERE database = currentDatabase() AND table = {table:String} AND active
GROUP BY partition_id
HAVING part_rows > 0
ORDER BY partition_id
