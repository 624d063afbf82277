-- As bench/sql/visible.sql, from the table of the ADR's 1-minute view.
SELECT exchange, symbol, countMerge(trade_count) AS trades
FROM gold_ohlcv_1m_mv
GROUP BY exchange, symbol
