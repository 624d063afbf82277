-- Which of the ids Silver holds of one market in a span of time (µs), less those of one insert.
SELECT DISTINCT trade_id FROM silver_trades
WHERE exchange = {exchange:String} AND symbol = {symbol:String} AND insert_token != {token:String}
  AND timestamp BETWEEN fromUnixTimestamp64Micro({earliest:Int64}, 'UTC') AND fromUnixTimestamp64Micro({latest:Int64}, 'UTC')
  AND trade_id IN {ids:Array(String)}
