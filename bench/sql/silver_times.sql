-- When each trade of a load was due (it was traded then), and when its insert into Silver began; µs since the epoch.
SELECT toUnixTimestamp64Micro(timestamp) AS due, toUnixTimestamp64Micro(validated_at) AS validated
FROM silver_trades
WHERE timestamp >= fromUnixTimestamp64Micro({start:Int64}, 'UTC') AND timestamp < fromUnixTimestamp64Micro({end:Int64}, 'UTC')
