-- Trades of one exchange that the hot Silver has, whatever their day.
SELECT DISTINCT toString(exchange) AS exchange, toString(symbol) AS symbol, trade_id
FROM silver_trades
WHERE exchange = {key:String} AND trade_id IN {ids:Array(String)}
