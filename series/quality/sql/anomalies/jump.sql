-- Minutes that closed further from the market's candle before than the bound, if that is at most an hour older.
SELECT
    'candles' AS series,
    exchange,
    symbol,
    '1m' AS frame,
    window_start AS at,
    abs(close / before.2 - 1) * 100 AS value,
    concat(toString(close), ' after ', toString(before.2)) AS detail
FROM
(
    SELECT
        exchange,
        symbol,
        window_start,
        close,
        lagInFrame((window_start, close)) OVER (
            PARTITION BY exchange, symbol ORDER BY window_start ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before
    FROM gold_ohlcv_1m
    WHERE window_start >= toDateTime({start:DateTime64(6, 'UTC')}) - INTERVAL 1 HOUR
      AND window_start < toDateTime({end:DateTime64(6, 'UTC')})
)
WHERE window_start >= toDateTime({start:DateTime64(6, 'UTC')})
  AND before.1 >= window_start - INTERVAL 1 HOUR
  AND value > {bound:Float64}
ORDER BY value DESC, at, exchange, symbol
LIMIT {most:UInt64}
