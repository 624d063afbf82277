-- As bench/sql/visible.sql, from the table behind the ADR's view of 1-minute candles.
SELECT exchange, symbol, countMerge(trade_count) AS trades
FROM gold_ohlcv_1m_mv
GROUP BY exchange, symbol
