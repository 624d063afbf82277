{#- The candles of a market in a pin whose windows start in [from, until) (s). -#}
SELECT
    toUnixTimestamp64Second(candle.window_start) AS opened,
    toString(candle.open) AS open,
    toString(candle.high) AS high,
    toString(candle.low) AS low,
    toString(candle.close) AS close,
    toString(candle.volume) AS volume,
    toString(candle.quote_volume) AS quote_volume,
    candle.trade_count AS trade_count
FROM {{ source }} AS candle
WHERE candle.exchange = {exchange:String}
  AND candle.symbol = {symbol:String}
  AND candle.window_start >= fromUnixTimestamp64Second({from:Int64}, 'UTC')
  AND candle.window_start < fromUnixTimestamp64Second({until:Int64}, 'UTC')
ORDER BY opened
LIMIT {limit:UInt32}
