-- The sorting key of a hot table, by which a ReplacingMergeTree tells what to merge.
SELECT sorting_key
FROM system.tables
WHERE database = currentDatabase() AND name = {hot:String}
