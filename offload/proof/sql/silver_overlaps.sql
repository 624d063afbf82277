-- Trades whose matches another trade of the market counts too, so that their volume counts twice: hot Silver by event time.
-- Rows with the same id are two such trades. Of a market that has trades of several matches, trades are compared by number:
-- an id below 2^64 without leading zeros, of which the database would make an Int64 by a subtraction.
{% set span %}
timestamp >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC') AND timestamp < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
{%- endset %}
{% set by_number %}
toString(toUInt64OrZero(trade_id)) = trade_id
AND (exchange, symbol) IN (SELECT exchange, symbol FROM silver_trades WHERE match_count > 1 AND {{ span }})
{%- endset %}
SELECT toString(exchange) AS exchange, toString(symbol) AS symbol, sum(found) AS trades, min(first_id) AS trade_id
FROM
(
    SELECT exchange, symbol, toUInt64(count()) AS found, toString(min(last)) AS first_id
    FROM
    (
        SELECT exchange, symbol, last, toInt128(last) - match_count + 1 AS first,
            row_number() OVER market AS place,
            max(last) OVER (market ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
        FROM
        (
            SELECT exchange, symbol, toUInt64OrZero(trade_id) AS last, match_count
            FROM silver_trades
            WHERE {{ span }} AND {{ by_number }}
        )
        WINDOW market AS (PARTITION BY exchange, symbol ORDER BY last, match_count)
    )
    WHERE place > 1 AND first <= before
    GROUP BY exchange, symbol
    UNION ALL
    SELECT exchange, symbol, toUInt64(sum(repeats)) AS found, min(trade_id) AS first_id
    FROM
    (
        SELECT exchange, symbol, trade_id, count() - 1 AS repeats
        FROM silver_trades
        WHERE {{ span }} AND NOT ({{ by_number }})
        GROUP BY exchange, symbol, trade_id
        HAVING repeats > 0
    )
    GROUP BY exchange, symbol
)
GROUP BY exchange, symbol
ORDER BY exchange, symbol
