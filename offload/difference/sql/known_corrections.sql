-- The accepted versions of trades of one exchange, and the coordinates of their messages.
SELECT
    toString(exchange) AS exchange,
    toString(symbol) AS symbol,
    toValidUTF8(trade_id) AS trade_id,
    price,
    quantity,
    timestamp,
    toString(side) AS side,
    toString(trade_kind) AS trade_kind,
    match_count,
    toString(raw_topic) AS raw_topic,
    raw_partition,
    raw_offset,
    published_at
FROM corrections FINAL
WHERE exchange = {key:String}
