-- The views of hot and cold rows, and what they read.
SELECT name, as_select AS definition
FROM system.tables
WHERE database = currentDatabase() AND engine = 'View' AND endsWith(name, '_all')
