-- The folder of the table that visible.sql reads, and how its parts begin: the 1-minute candles are in partitions of a day.
SELECT data_paths[1], '60-'
FROM system.tables
WHERE database = currentDatabase() AND name = 'gold_ohlcv_state'
