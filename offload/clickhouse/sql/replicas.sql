-- The replicas of all shards behind the tables of this database; none on one server. If the tables name no database of
-- the shards, a replica's own default counts, as it does for the tables.
SELECT host_name, shard_num, replica_num, currentDatabase() AS readers_database,
       if(named[2] = '', default_database, named[2]) AS shard_database
FROM system.clusters
INNER JOIN
(
    SELECT DISTINCT extractGroups(engine_full, '^Distributed\\(\'([^\']+)\', \'([^\']*)\'') AS named
    FROM system.tables
    WHERE database = currentDatabase() AND engine = 'Distributed'
) AS tables ON cluster = named[1]
ORDER BY shard_num, replica_num
