-- The view of hot and cold candles where there is one (an offload makes it), else that of hot candles.
SELECT name
FROM system.tables
WHERE database = currentDatabase()
  AND name IN ({view:String}, {view:String} || '_all')
ORDER BY length(name) DESC
LIMIT 1
