{#- The venue's own candles of a market whose windows start in [from, until] (ms), `direction` from the first or from
    the last. NULL: the venue does not say. -#}
SELECT
    toUnixTimestamp64Milli(bar.window_start) AS opened,
    toString(bar.open) AS open,
    toString(bar.high) AS high,
    toString(bar.low) AS low,
    toString(bar.close) AS close,
    toString(bar.volume) AS volume,
    toString(bar.quote_volume) AS quote_volume,
    bar.trade_count AS trade_count,
    toString(bar.buy_volume) AS buy_volume
FROM bars_exact AS bar
WHERE bar.exchange = {exchange:String}
  AND bar.symbol = {symbol:String}
  AND bar.frame = {frame:String}
  AND bar.window_start >= fromUnixTimestamp64Milli({from:Int64}, 'UTC')
  AND bar.window_start <= fromUnixTimestamp64Milli({until:Int64}, 'UTC')
ORDER BY bar.window_start {{ direction }}
LIMIT {limit:UInt32}
