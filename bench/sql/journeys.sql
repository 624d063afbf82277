-- When each trade of a load passed each layer (µs since the epoch), and its number within its market: ids count up in a
-- load, and the trades of a market stay in order.
SELECT exchange, symbol, number, received, published, ingested, bronze_published, validated
FROM
(
    SELECT
        exchange,
        symbol,
        row_number() OVER (PARTITION BY exchange, symbol ORDER BY toUInt64(trade_id)) AS number,
        toUnixTimestamp64Micro(received_at) AS received,
        toUnixTimestamp64Milli(published_at) * 1000 AS published,
        toUnixTimestamp64Micro(ingested_at) AS ingested,
        toUnixTimestamp64Milli(bronze_published_at) * 1000 AS bronze_published,
        toUnixTimestamp64Micro(validated_at) AS validated
    FROM silver_trades
)
WHERE received >= {start:Int64} AND received < {end:Int64}
