{#- The last price of each market of some exchanges. -#}
SELECT
    exchange,
    symbol,
    toString(argMax(close, window_start)) AS last_price
FROM gold_ohlcv_1d_exact
WHERE exchange IN {exchanges:Array(String)}
  AND ({symbol:String} = '' OR symbol = {symbol:String})
GROUP BY exchange, symbol
ORDER BY exchange, symbol
