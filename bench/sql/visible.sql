-- What a reader of the 1-minute candles sees now: the newest Silver insert that counts (one insert has one
-- validated_at; µs since the epoch), and the number of trades. From the table under the view, which takes half the CPU.
-- Of the six time frames 1m and 5m are the last that an insert reaches.
SELECT toUnixTimestamp64Micro(max(updated_at)) AS newest_us, sum(trade_count) AS trades
FROM gold_ohlcv_1m_state
