-- The UTC days (20261129) from `since` to `until`, both included, whose Silver has left ClickHouse for Iceberg.
SELECT DISTINCT toDate32(toString(partition_id)) AS day
FROM left_partitions
WHERE table_name = 'silver_trades' AND partition_id BETWEEN {since:UInt32} AND {until:UInt32}
ORDER BY day
