-- Whether the runner has been here. No migration.
SELECT count()
FROM system.tables
WHERE database = {{ db | literal }} AND name = {{ journal | literal }}
