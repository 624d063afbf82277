-- How many rows of some markets Silver has at most: those of the granules that its primary index names, not read.
EXPLAIN ESTIMATE SELECT timestamp FROM silver_trades WHERE (exchange, symbol) IN {markets:Array(Tuple(String, String))}
