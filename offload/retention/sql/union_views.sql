-- The views of hot and cold rows, and the definition of each.
SELECT name, comment
FROM system.tables
WHERE database = currentDatabase() AND engine = 'View' AND endsWith(name, '_all')
