-- The objects of the database, without the journal. No migration.
SELECT name, create_table_query, engine
FROM system.tables
WHERE database = {{ db | literal }} AND name != {{ journal | literal }} AND NOT is_temporary
