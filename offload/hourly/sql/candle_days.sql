-- Days of event time (since the epoch) of the candles of an exchange and period in a hot table.
SELECT DISTINCT intDiv(toInt64(toUnixTimestamp(window_start)), 86400) AS day
FROM {{ hot }}
WHERE exchange = {key:String}
  AND window_start >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND window_start < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
ORDER BY day
