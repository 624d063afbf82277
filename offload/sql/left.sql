-- The partitions of a hot table that have left for Iceberg.
SELECT DISTINCT toString(partition_id) AS partition_id
FROM left_partitions
WHERE table_name = {table:String}
ORDER BY partition_id
