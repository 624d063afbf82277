-- The folder of the table that visible.sql reads: the view's own.
SELECT data_paths[1], ''
FROM system.tables
WHERE database = currentDatabase()
  AND name = (SELECT concat('.inner_id.', toString(uuid)) FROM system.tables WHERE database = currentDatabase() AND name = 'gold_ohlcv_1m_mv')
