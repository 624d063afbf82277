-- Ids that Silver holds of one market in a span of time (µs).
SELECT DISTINCT trade_id FROM silver_trades
WHERE exchange = {exchange:String} AND symbol = {symbol:String}
  AND timestamp BETWEEN fromUnixTimestamp64Micro({earliest:Int64}, 'UTC')
    AND fromUnixTimestamp64Micro({latest:Int64}, 'UTC')
