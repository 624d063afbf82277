SELECT max(timestamp) AS until
FROM silver_trades
WHERE exchange = {exchange:String} AND symbol = {symbol:String} AND timestamp >= {start:DateTime64(6, 'UTC')}
