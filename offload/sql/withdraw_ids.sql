-- The ids of the trades that hot Silver has of one market in [from_us, to_us) (µs, UTC).
SELECT DISTINCT trade_id
FROM silver_trades
WHERE exchange = {exchange:String}
  AND symbol = {symbol:String}
  AND timestamp >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND timestamp < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
