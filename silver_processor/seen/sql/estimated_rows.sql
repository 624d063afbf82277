-- Upper bound on Silver's rows of some markets: the rows of the granules that the primary index names. Reads no row.
EXPLAIN ESTIMATE SELECT timestamp FROM silver_trades WHERE (exchange, symbol) IN {markets:Array(Tuple(String, String))}
