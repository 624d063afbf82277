-- Hot Silver's row of the trade of which a dead letter is another version; no row once Silver has dropped it.
-- toString, since Arrow has the number of the side instead of its name.
SELECT * REPLACE (toString(side) AS side)
FROM silver_trades
WHERE exchange = {exchange:String} AND exchange_symbol = {symbol:String} AND trade_id = {trade_id:String}
LIMIT 1
