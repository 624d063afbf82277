-- The canonical name under which Silver has the trades of each of an exchange's own symbols, with the first and the last.
SELECT
    toString(exchange) AS exchange,
    toString(exchange_symbol) AS exchange_symbol,
    toString(symbol) AS symbol,
    count() AS trades,
    min(timestamp) AS first_trade,
    max(timestamp) AS last_trade
FROM {trades:Identifier}
GROUP BY exchange, exchange_symbol, symbol
ORDER BY exchange, exchange_symbol, symbol
