SELECT window_start, open, close
FROM gold_ohlcv_1m
WHERE exchange = 'binance' AND symbol = 'M250USDT' AND window_start >= now() - INTERVAL 1 DAY
