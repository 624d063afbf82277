-- The partitions a hot table has now, and its parts' rows.
SELECT partition_id, toInt64(sum(rows)) AS part_rows
FROM system.parts
WHERE database = currentDatabase() AND table = {table:String} AND active
GROUP BY partition_id
ORDER BY partition_id
