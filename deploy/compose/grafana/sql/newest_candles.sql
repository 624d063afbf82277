SELECT exchange, symbol, window_start, open, high, low, close, volume, trade_count, updated_at
FROM gold_ohlcv_1m
WHERE $__timeFilter(window_start)
ORDER BY window_start DESC, exchange, symbol
LIMIT 50
