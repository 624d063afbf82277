-- Ids that Silver holds of one market, less those of one insert.
SELECT toString(exchange) AS exchange, toString(symbol) AS symbol, trade_id, timestamp FROM silver_trades
WHERE exchange = {exchange:String} AND symbol = {symbol:String} AND insert_token != {token:String}
ORDER BY timestamp
