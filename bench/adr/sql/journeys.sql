-- As bench/sql/journeys.sql, with the times that the ADR stores. Its Silver has only the trade's own time, in whole
-- milliseconds. In a load this is the time at which the trade was due.
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
