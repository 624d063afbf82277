{#- By market, what a new trade changes: the trades of the days since `since` (s), and when the newest was validated (µs). -#}
SELECT
    exchange,
    symbol,
    sum(trade_count) AS trade_count,
    max(toUnixTimestamp64Micro(updated_at)) AS validated
FROM candles_as_text
WHERE frame = 86400
  AND (exchange, symbol) IN {markets:Array(Tuple(String, String))}
  AND window_start >= fromUnixTimestamp64Second({since:Int64}, 'UTC')
GROUP BY exchange, symbol
