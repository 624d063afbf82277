-- Silver's summed trades of one market in a span of time (µs) that contain an id from low to high, and the raw message
-- that each came in.
SELECT toString(exchange) AS exchange, toString(symbol) AS symbol, trade_id, price, quantity, timestamp,
  toString(side) AS side, toString(trade_kind) AS trade_kind, match_count,
  toString(raw_topic) AS raw_topic, raw_partition, raw_offset, published_at
FROM silver_trades
WHERE exchange = {exchange:String} AND symbol = {symbol:String} AND match_count > 1
  AND timestamp BETWEEN fromUnixTimestamp64Micro({earliest:Int64}, 'UTC') AND fromUnixTimestamp64Micro({latest:Int64}, 'UTC')
  AND toUInt64OrZero(trade_id) >= {low:UInt64} AND toUInt64OrZero(trade_id) - match_count < {high:UInt64}
