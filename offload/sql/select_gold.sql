-- cold.gold_ohlcv_*: the candles of one exchange whose start lies in a period and that ended by `until`.
-- A sum of too many digits must fail: a Decimal(38) column takes some 39-digit numbers without a word.
SELECT
    toString(t.exchange) AS exchange,
    toString(t.symbol) AS symbol,
    toDateTime64(t.window_start, 6, 'UTC') AS window_start,
    CAST(t.open AS Decimal(38, 18)) AS open,
    CAST(t.high AS Decimal(38, 18)) AS high,
    CAST(t.low AS Decimal(38, 18)) AS low,
    CAST(t.close AS Decimal(38, 18)) AS close,
    CAST(t.volume AS Decimal(38, 18)) AS volume,
    CAST(t.quote_volume AS Decimal(38, 20)) AS quote_volume,
    toInt64(t.trade_count) AS trade_count
FROM {{ hot }} AS t
WHERE t.exchange = {key:String}
  AND t.window_start >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND t.window_start < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
  AND t.window_start <= fromUnixTimestamp64Micro({until_us:Int64} - {{ bucket_seconds }} * 1000000, 'UTC')
  AND NOT throwIf(abs(t.volume) >= toDecimal256('100000000000000000000', 18),
                  'A candle''s volume exceeds Decimal(38,18): widen cold.{{ hot }} before offloading it')
  AND NOT throwIf(abs(t.quote_volume) >= toDecimal256('1000000000000000000', 20),
                  'A candle''s quote_volume exceeds Decimal(38,20): widen cold.{{ hot }} before offloading it')
{% if partition %}
ORDER BY t.symbol, t.window_start
{% endif %}
