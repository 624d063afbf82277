-- Those of some candle views that have an override: the others read only candle states.
SELECT name
FROM system.tables
WHERE database = currentDatabase() AND name IN {views:Array(String)} AND position(as_select, 'silver_trades') > 0
