-- The sorting key of a hot table, by which a ReplacingMergeTree merges rows.
SELECT sorting_key
FROM system.tables
WHERE database = currentDatabase() AND name = {hot:String}
