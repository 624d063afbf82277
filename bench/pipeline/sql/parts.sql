-- Active parts by table and partition.
SELECT table, partition, count() AS parts
FROM system.parts
WHERE active AND database = currentDatabase()
GROUP BY table, partition
ORDER BY table, partition
