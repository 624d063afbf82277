-- Columns of a hot table or view.
SELECT name, type, comment
FROM system.columns
WHERE database = currentDatabase() AND table = {table:String}
