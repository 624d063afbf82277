-- The views of hot and cold rows, and of which definition each is.
SELECT name, comment
FROM system.tables
WHERE database = currentDatabase() AND engine = 'View' AND endsWith(name, '_all')
