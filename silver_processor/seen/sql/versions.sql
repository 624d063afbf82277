-- Silver's rows of some trades of one market in a span of time (µs), and the raw message that each came in.
SELECT toString(exchange) AS exchange, toString(symbol) AS symbol, trade_id, price, quantity, timestamp,
  toString(side) AS side, toString(trade_kind) AS trade_kind, match_count,
  toString(raw_topic) AS raw_topic, raw_partition, raw_offset, published_at
FROM silver_trades
WHERE exchange = {exchange:String} AND symbol = {symbol:String}
  AND timestamp BETWEEN fromUnixTimestamp64Micro({earliest:Int64}, 'UTC') AND fromUnixTimestamp64Micro({latest:Int64}, 'UTC')
  AND trade_id IN {ids:Array(String)}
