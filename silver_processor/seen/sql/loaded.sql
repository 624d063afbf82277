-- Silver's trades of some markets after a time (µs), without those of one insert; each market in order of time.
SELECT exchange, symbol, trade_id, timestamp, match_count FROM silver_trades
WHERE (exchange, symbol) IN {markets:Array(Tuple(String, String))} AND insert_token != {token:String}
  AND timestamp > fromUnixTimestamp64Micro({after:Int64}, 'UTC')
ORDER BY exchange, symbol, timestamp
