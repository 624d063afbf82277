-- The trades that the query view of the 1-minute candles counts.
SELECT sum(trade_count) AS trades FROM gold_ohlcv_1m
