{#- Pins with views that this user may read. -#}
SELECT substring(database, 5) AS pin
FROM system.tables
WHERE startsWith(database, 'pin_')
  AND name = 'gold_ohlcv_1m'
  AND match(substring(database, 5), '^[a-z][a-z0-9_]{0,62}$')
ORDER BY pin
LIMIT 100
