-- What a reader of the candles sees now: the newest Silver insert that counts in every time frame, in µs since the
-- epoch (one insert has one validated_at), and the trades in the daily candles.
SELECT
    toUnixTimestamp64Micro(least(
        (SELECT max(updated_at) FROM gold_ohlcv_1m),
        (SELECT max(updated_at) FROM gold_ohlcv_5m),
        (SELECT max(updated_at) FROM gold_ohlcv_15m),
        (SELECT max(updated_at) FROM gold_ohlcv_30m),
        (SELECT max(updated_at) FROM gold_ohlcv_1h),
        (SELECT max(updated_at) FROM gold_ohlcv_1d))) AS newest_us,
    (SELECT sum(trade_count) FROM gold_ohlcv_1d) AS trades
