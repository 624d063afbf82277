-- Trades whose matches another trade of the market counts too, so that their volume counts twice. Hot Silver by event time,
-- only markets that have trades of several matches. An id is a number below 2^64 without leading zeros, of which the
-- database would make an Int64 by a subtraction.
SELECT toString(exchange) AS exchange, toString(symbol) AS symbol, count() AS trades, toString(min(last)) AS trade_id
FROM
(
    SELECT exchange, symbol, last, toInt128(last) - match_count + 1 AS first,
        row_number() OVER market AS place,
        max(last) OVER (market ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM
    (
        SELECT exchange, symbol, toUInt64OrZero(trade_id) AS last, match_count
        FROM silver_trades
        WHERE timestamp >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
          AND timestamp < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
          AND toString(last) = trade_id
          AND (exchange, symbol) IN (
            SELECT exchange, symbol
            FROM silver_trades
            WHERE match_count > 1
              AND timestamp >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
              AND timestamp < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC'))
    )
    WINDOW market AS (PARTITION BY exchange, symbol ORDER BY last, match_count)
)
WHERE place > 1 AND first <= before
GROUP BY exchange, symbol
ORDER BY exchange, symbol
