-- The objects of the database, without the journal and the tables that a refresh is filling. No migration.
SELECT name, create_table_query, engine
FROM system.tables
WHERE database = {{ db | literal }} AND name != {{ journal | literal }} AND NOT is_temporary
  AND NOT match(name, '^([.]tmp|_tmp_replace_)')
