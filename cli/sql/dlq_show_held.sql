-- What hot Silver has of the trade of a dead letter that tells of another version; no row once Silver has let go of it.
-- Arrow would give the number of the side, not its name.
SELECT * REPLACE (toString(side) AS side)
FROM silver_trades
WHERE exchange = {exchange:String} AND exchange_symbol = {symbol:String} AND trade_id = {trade_id:String}
LIMIT 1
