{#- Each market's 24 hours since `from` (s), in candles of 30 minutes. -#}
{% import '_windows.sql' as windows %}
SELECT
    exchange,
    symbol,
    toString(argMin(open, window_start)) AS open,
    toString(max(high)) AS high,
    toString(min(low)) AS low,
    {{ windows.total('volume', 18) }} AS volume,
    {{ windows.total('quote_volume', 20) }} AS quote_volume,
    sum(trade_count) AS trade_count
FROM gold_ohlcv_30m_exact
WHERE exchange IN {exchanges:Array(String)}
  AND ({symbol:String} = '' OR symbol = {symbol:String})
  AND window_start >= fromUnixTimestamp64Second({from:Int64}, 'UTC')
GROUP BY exchange, symbol
