-- First and last trade of each market; the last before a span and the first after it (1970: there is none). Empty names
-- match everything.
SELECT
    toString(exchange) AS exchange,
    toString(symbol) AS symbol,
    count() AS trades,
    min(timestamp) AS first_trade,
    max(timestamp) AS last_trade,
    toDate32(maxIf(timestamp, timestamp < toDateTime64({since:String}, 6, 'UTC'))) AS day_before,
    toDate32(minIf(timestamp, timestamp >= toDateTime64({until:String}, 6, 'UTC'))) AS day_after
FROM {trades:Identifier}
WHERE ({exchange:String} = '' OR exchange = {exchange:String})
  AND (empty({symbols:Array(String)}) OR has({symbols:Array(String)}, symbol))
GROUP BY exchange, symbol
ORDER BY exchange, symbol
