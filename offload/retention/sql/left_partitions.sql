-- The days or months of a cold table that are no longer hot.
SELECT DISTINCT toString(partition_id) AS partition_id
FROM left_partitions
WHERE table_name = {table:String}
ORDER BY partition_id
