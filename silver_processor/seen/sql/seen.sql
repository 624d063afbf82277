-- The trades that Silver holds of some markets (later than a time in µs), less those of one insert; of each market in the
-- order of their times.
SELECT exchange, symbol, trade_id, timestamp, match_count FROM silver_trades
WHERE (exchange, symbol) IN {markets:Array(Tuple(String, String))} AND insert_token != {token:String}
  AND timestamp > fromUnixTimestamp64Micro({after:Int64}, 'UTC')
ORDER BY exchange, symbol, timestamp
