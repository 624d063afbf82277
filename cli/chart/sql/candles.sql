-- The last candles of a market in a span of window starts (UTC), newest first.
SELECT window_start, open, high, low, close, volume, trade_count
FROM {view:Identifier}
WHERE exchange = {exchange:String}
  AND symbol = {symbol:String}
  AND window_start >= toDateTime64({since:String}, 0, 'UTC')
  AND window_start < toDateTime64({until:String}, 0, 'UTC')
ORDER BY window_start DESC
LIMIT {last:UInt64}
