-- What the database holds now, without the runner's own table. No migration.
SELECT name, create_table_query, engine
FROM system.tables
WHERE database = {{ db | literal }} AND name != {{ journal | literal }} AND NOT is_temporary
