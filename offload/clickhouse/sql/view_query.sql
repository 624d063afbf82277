-- The query of a materialized view, and the database it names its source in.
SELECT as_select, currentDatabase() AS db
FROM system.tables
WHERE database = currentDatabase() AND name = {view:String}
