-- When (µs) the newest trade happened that is too old to be loaded; no row if a market's ids are few.
SELECT toUnixTimestamp64Micro(timestamp) AS horizon FROM silver_trades
WHERE exchange = {exchange:String} AND symbol = {symbol:String}
ORDER BY timestamp DESC
LIMIT 1 OFFSET {most:UInt64}
