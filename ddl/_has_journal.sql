-- Whether the database has a journal. No migration.
SELECT count()
FROM system.tables
WHERE database = {{ db | literal }} AND name = {{ journal | literal }}
