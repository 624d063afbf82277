{#- The newest day or month (YYYYMMDD, YYYYMM) of each table that only Iceberg has now. -#}
SELECT table_name, max(partition_id) AS newest
FROM left_partitions
GROUP BY table_name
