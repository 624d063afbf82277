-- The newest trades that Silver holds of one market (later than a time in µs), less those of one insert; ascending times.
SELECT trade_id, timestamp, match_count FROM silver_trades
WHERE exchange = {exchange:String} AND symbol = {symbol:String} AND insert_token != {token:String}
  AND timestamp > fromUnixTimestamp64Micro({after:Int64}, 'UTC')
ORDER BY timestamp
