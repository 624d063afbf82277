-- When each trade of a load passed each layer, µs since the epoch.
SELECT
    toUnixTimestamp64Micro(received_at) AS received,
    toUnixTimestamp64Milli(published_at) * 1000 AS published,
    toUnixTimestamp64Micro(ingested_at) AS ingested,
    toUnixTimestamp64Milli(bronze_published_at) * 1000 AS bronze_published,
    toUnixTimestamp64Micro(validated_at) AS validated
FROM silver_trades
WHERE received_at >= fromUnixTimestamp64Micro({start:Int64}, 'UTC')
    AND received_at < fromUnixTimestamp64Micro({end:Int64}, 'UTC')
