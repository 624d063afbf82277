-- Trades of exchanges on a day, as candles count them: in Silver (frame 0), and in the candle states of each frame.
{% import '_counting.sql' as counting %}
SELECT 0 AS frame, toInt64({{ counting.trades('silver') }}) AS trades
FROM silver_trades AS silver
WHERE {{ counting.is_counted('silver') }}
  AND exchange IN {keys:Array(String)}
  AND timestamp >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND timestamp < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
UNION ALL
SELECT frame, toInt64(sum(trade_count))
FROM gold_ohlcv_state
WHERE exchange IN {keys:Array(String)}
  AND toUnixTimestamp(window_start) >= intDiv({from_us:Int64}, 1000000)
  AND toUnixTimestamp(window_start) < intDiv({to_us:Int64}, 1000000)
GROUP BY frame
