-- As bench/sql/journeys.sql, of what the ADR keeps: its Silver has a trade's own time, in whole milliseconds, which is
-- when a load has it due.
SELECT exchange, symbol, number, received
FROM
(
    SELECT
        exchange,
        symbol,
        row_number() OVER (PARTITION BY exchange, symbol ORDER BY toUInt64(trade_id)) AS number,
        toUnixTimestamp64Milli(timestamp) * 1000 AS received
    FROM silver_trades
)
WHERE received >= {start:Int64} AND received < {end:Int64}
