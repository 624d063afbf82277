-- Exchanges and days of event time of the Silver rows that arrived in a span: their candles change.
SELECT
    toString(exchange) AS key,
    toUnixTimestamp64Micro(timestamp) - positiveModulo(toUnixTimestamp64Micro(timestamp), 86400000000) AS day_us
FROM silver_trades
WHERE validated_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND validated_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
GROUP BY key, day_us
ORDER BY key, day_us
