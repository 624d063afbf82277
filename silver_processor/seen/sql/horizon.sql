-- The time (µs) of a market's newest trade that is not loaded; no row if the market has few trades.
SELECT toUnixTimestamp64Micro(timestamp) AS horizon FROM silver_trades
WHERE exchange = {exchange:String} AND symbol = {symbol:String}
ORDER BY timestamp DESC
LIMIT 1 OFFSET {most:UInt64}
