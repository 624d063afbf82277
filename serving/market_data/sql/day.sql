{#- Each market's 24 hours since `from` (s), in candles of 30 minutes. -#}
{% import '_windows.sql' as windows %}
SELECT
    exchange,
    symbol,
    argMin(open, window_start) AS open,
    toString(max(toDecimal128(high, 18))) AS high,
    toString(min(toDecimal128(low, 18))) AS low,
    {{ windows.total('volume', 18) }} AS volume,
    {{ windows.total('quote_volume', 20) }} AS quote_volume,
    sum(trade_count) AS trade_count
FROM candles_as_text
WHERE frame = 1800
  AND exchange IN {exchanges:Array(String)}
  AND ({symbol:String} = '' OR symbol = {symbol:String})
  AND window_start >= fromUnixTimestamp64Second({from:Int64}, 'UTC')
GROUP BY exchange, symbol
