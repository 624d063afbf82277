-- The trades that the 1-minute candles count now, by market. It reads the table behind the query view: the view shows a
-- trade at the same moment, and takes four times the CPU.
SELECT exchange, symbol, sum(trade_count) AS trades
FROM gold_ohlcv_state
WHERE frame = 60
GROUP BY exchange, symbol
-- One thread and no optimiser: the watcher shares two cores with what it measures.
SETTINGS max_threads = 1, query_plan_enable_optimizations = 0
