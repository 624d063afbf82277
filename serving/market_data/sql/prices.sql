{#- The last price of each market of some exchanges. -#}
SELECT
    exchange,
    symbol,
    argMax(close, window_start) AS last_price
FROM candles_as_text
WHERE frame = 86400
  AND exchange IN {exchanges:Array(String)}
  AND ({symbol:String} = '' OR symbol = {symbol:String})
GROUP BY exchange, symbol
ORDER BY exchange, symbol
