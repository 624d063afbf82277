-- The accepted versions of some trades of one market, and the raw message that each came in.
SELECT toString(exchange) AS exchange, toString(symbol) AS symbol, trade_id, price, quantity, timestamp,
  toString(side) AS side, toString(trade_kind) AS trade_kind, match_count,
  toString(raw_topic) AS raw_topic, raw_partition, raw_offset, published_at
FROM corrections FINAL
WHERE exchange = {exchange:String} AND symbol = {symbol:String} AND trade_id IN {ids:Array(String)}
