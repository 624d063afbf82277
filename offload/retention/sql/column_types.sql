-- Columns of hot tables or views.
SELECT table, name, type, comment
FROM system.columns
WHERE database = currentDatabase() AND table IN {tables:Array(String)}
