-- The tables that pass statements on to shards. They have no rows and no partitions of their own.
SELECT name
FROM system.tables
WHERE database = currentDatabase() AND engine = 'Distributed' AND name IN {tables:Array(String)}
ORDER BY name
