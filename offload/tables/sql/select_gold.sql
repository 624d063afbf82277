-- cold.gold_ohlcv_*: the candles of one exchange whose start lies in a period and that ended by `until`.
-- The view refuses a sum of more than 38 digits.
SELECT
    t.exchange AS exchange,
    t.symbol AS symbol,
    toDateTime64(t.window_start, 6, 'UTC') AS window_start,
    t.open AS open,
    t.high AS high,
    t.low AS low,
    t.close AS close,
    t.volume AS volume,
    t.quote_volume AS quote_volume,
    toInt64(t.trade_count) AS trade_count,
    t.buy_volume AS buy_volume,
    t.sell_volume AS sell_volume
FROM {{ hot }} AS t
WHERE t.exchange = {key:String}
  AND t.window_start >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND t.window_start < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
  AND t.window_start <= fromUnixTimestamp64Micro({until_us:Int64} - {{ bucket_seconds }} * 1000000, 'UTC')
{% if partition %}
ORDER BY t.symbol, t.window_start
{% endif %}
