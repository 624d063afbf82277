-- Columns of a table, in its order.
SELECT name
FROM system.columns
WHERE database = currentDatabase() AND table = {table:String}
ORDER BY position
