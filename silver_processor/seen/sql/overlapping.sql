-- Silver's trades of one market in a span of time (µs), without those of one insert: trades with one of the ids, trades
-- with an id from first to last, and summed trades that contain an id from low to high.
SELECT DISTINCT trade_id, timestamp, match_count FROM silver_trades
WHERE exchange = {exchange:String} AND symbol = {symbol:String} AND insert_token != {token:String}
  AND timestamp BETWEEN fromUnixTimestamp64Micro({earliest:Int64}, 'UTC') AND fromUnixTimestamp64Micro({latest:Int64}, 'UTC')
  AND (trade_id IN {ids:Array(String)}
    OR toUInt64OrZero(trade_id) BETWEEN {first:UInt64} AND {last:UInt64}
    OR match_count > 1 AND toUInt64OrZero(trade_id) >= {low:UInt64}
      AND toUInt64OrZero(trade_id) - match_count < {high:UInt64})
