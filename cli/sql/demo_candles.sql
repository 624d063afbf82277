-- The newest candles of every market.
SELECT exchange, symbol, window_start, open, high, low, close, volume, quote_volume, trade_count
FROM gold_ohlcv_1m
ORDER BY exchange, symbol, window_start DESC
LIMIT {per_market:UInt64} BY exchange, symbol
