-- The entries of the journal, oldest first. No migration.
SELECT statement, migration, object, kind, sha256, toString(state), definition
FROM {{ db }}.{{ journal }} FINAL
ORDER BY applied_at, statement
