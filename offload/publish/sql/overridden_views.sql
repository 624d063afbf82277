-- The candle views that have an override. Views without one read only candle states.
SELECT name
FROM system.tables
WHERE database = currentDatabase() AND name IN {views:Array(String)} AND position(as_select, 'silver_trades') > 0
