SELECT toDate(window_start) AS day, exchange, sum(trade_count) AS trades, count() AS candles, max(updated_at) AS newest
FROM gold_ohlcv_1d
GROUP BY day, exchange
ORDER BY day DESC, exchange
LIMIT 200
