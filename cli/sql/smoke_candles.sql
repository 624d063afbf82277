-- Whether there are candles, of how many markets, and whether each lies within its own high and low.
SELECT
    (SELECT count() FROM gold_ohlcv_1m) AS candles,
    (SELECT uniqExact(exchange, symbol) FROM gold_ohlcv_1m) AS markets,
    (SELECT max(window_start) FROM gold_ohlcv_1m) AS newest,
    (SELECT countIf(low > least(open, close) OR high < greatest(open, close) OR trade_count = 0) FROM gold_ohlcv_1m) AS impossible,
    6 AS timeframes,
    (SELECT count() > 0 FROM gold_ohlcv_1m) + (SELECT count() > 0 FROM gold_ohlcv_5m) + (SELECT count() > 0 FROM gold_ohlcv_15m)
    + (SELECT count() > 0 FROM gold_ohlcv_30m) + (SELECT count() > 0 FROM gold_ohlcv_1h) + (SELECT count() > 0 FROM gold_ohlcv_1d) AS frames_filled
