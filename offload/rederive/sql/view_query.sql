-- The query of a materialized view, and the database in which it names its source.
SELECT as_select, currentDatabase() AS db
FROM system.tables
WHERE database = currentDatabase() AND name = {view:String}
