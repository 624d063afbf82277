{#- Quote volume whose taker bought, by window, which Gold does not keep; `trade_count` says whether Silver still has
    every trade of the candle. Trades validated after `seen` came after the candles were read. -#}
{% import '_windows.sql' as windows %}
{% import '_counting.sql' as counting with context %}
SELECT
    exchange,
    symbol,
    toUnixTimestamp64Second({{ windows.window('silver.timestamp', seconds, offset) }}) AS opened,
    toString(sumIf(toDecimal256(silver.quote_volume, 20), silver.side = 'BUY')) AS buy_quote_volume,
    {{ counting.trades('silver') }} AS trade_count
FROM {{ trades }} AS silver
WHERE (silver.exchange, silver.symbol) IN {markets:Array(Tuple(String, String))}
  AND silver.timestamp >= fromUnixTimestamp64Second({from:Int64}, 'UTC')
  AND silver.timestamp < fromUnixTimestamp64Second({until:Int64}, 'UTC')
  AND silver.validated_at <= {seen:DateTime64(6, 'UTC')}
  AND {{ counting.is_counted('silver') }}
GROUP BY exchange, symbol, opened
