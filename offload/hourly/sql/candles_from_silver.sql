-- Candles of days of an exchange, computed from the trades in Iceberg.
{% import '_counting.sql' as counting %}
-- A sum of too many digits must fail: a Decimal(38) column silently accepts some numbers of 39 digits.
SELECT
    exchange,
    symbol,
    fromUnixTimestamp64Micro(intDiv(toUnixTimestamp64Micro(t.timestamp), {{ bucket_seconds }}000000) * {{ bucket_seconds }}000000, 'UTC')
        AS window_start,
    CAST(argMin(t.price, (t.timestamp, t.sequence, t.trade_id)) AS Decimal(38, 18)) AS open,
    CAST(max(t.price) AS Decimal(38, 18)) AS high,
    CAST(min(t.price) AS Decimal(38, 18)) AS low,
    CAST(argMax(t.price, (t.timestamp, t.sequence, t.trade_id)) AS Decimal(38, 18)) AS close,
    CAST(sum(toDecimal256(t.quantity, 18)) AS Decimal(38, 18)) AS volume,
    CAST(sum(toDecimal256(t.quote_volume, 20)) AS Decimal(38, 20)) AS quote_volume,
    toInt64({{ counting.trades('t') }}) AS trade_count,
    CAST(sumIf(toDecimal256(t.quantity, 18), t.side = 'BUY') AS Decimal(38, 18)) AS buy_volume,
    CAST(sumIf(toDecimal256(t.quantity, 18), t.side = 'SELL') AS Decimal(38, 18)) AS sell_volume
FROM
(
{{ source }}
) AS t
WHERE exchange = {key:String}
  AND {{ counting.is_counted('t') }}
  AND intDiv(toUnixTimestamp64Micro(t.timestamp), 86400000000) IN ({{ days | join(', ') }})
GROUP BY exchange, symbol, window_start
HAVING NOT throwIf(abs(sum(toDecimal256(t.quantity, 18))) >= toDecimal256('100000000000000000000', 18),
                   'A candle''s volume exceeds Decimal(38,18): widen the cold Gold tables before offloading it')
   AND NOT throwIf(abs(sum(toDecimal256(t.quote_volume, 20))) >= toDecimal256('1000000000000000000', 20),
                   'A candle''s quote_volume exceeds Decimal(38,20): widen the cold Gold tables before offloading it')
