-- The versions that hot Silver has of some trades of one market, with their raw coordinates.
SELECT {{ columns | join(', ') }}
FROM silver_trades
WHERE exchange = {exchange:String} AND symbol = {symbol:String} AND trade_id IN {ids:Array(String)}
