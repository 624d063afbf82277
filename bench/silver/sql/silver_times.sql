-- When each trade of a load was due, which is its own time, and when its insert into Silver began (µs since the epoch);
-- and its number within its market.
SELECT exchange, symbol, number, due, validated
FROM
(
    SELECT
        exchange,
        symbol,
        row_number() OVER (PARTITION BY exchange, symbol ORDER BY toUInt64(trade_id)) AS number,
        toUnixTimestamp64Micro(timestamp) AS due,
        toUnixTimestamp64Micro(validated_at) AS validated
    FROM silver_trades
)
WHERE due >= {start:Int64} AND due < {end:Int64}
