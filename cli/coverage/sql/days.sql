-- The trades of each market and day (UTC) of a span and of single days (20261129) around it: how many ids they stand for,
-- from which to which. A row stands for the `match_count` ids up to its own. An id is a number below 2^63 without leading
-- zeros. A row with the id of another one (`repeated`) is no trade more; else it would hide one that is missing.
SELECT
    toString(exchange) AS exchange,
    toString(symbol) AS symbol,
    toDate32(timestamp) AS day,
    countIf(toString(toUInt64OrZero(trade_id)) != trade_id OR toUInt64OrZero(trade_id) >= 9223372036854775808) AS without_number,
    if(without_number = 0, count() - groupBitmap(toUInt64OrZero(trade_id)), 0) AS repeated,
    count() - repeated AS trades,
    toUInt64(sum(ifNull(match_count, 1))) - repeated AS ids,
    min(toInt64OrZero(trade_id) - toInt64(ifNull(match_count, 1)) + 1) AS first_id,
    max(toInt64OrZero(trade_id)) AS last_id,
    countIf(received_at < timestamp + INTERVAL 1 HOUR) AS live
FROM {trades:Identifier}
WHERE ({exchange:String} = '' OR exchange = {exchange:String})
  AND (empty({symbols:Array(String)}) OR has({symbols:Array(String)}, symbol))
  AND ((timestamp >= toDateTime64({since:String}, 6, 'UTC') AND timestamp < toDateTime64({until:String}, 6, 'UTC'))
       OR toYYYYMMDD(timestamp) IN {around:Array(UInt32)})
GROUP BY exchange, symbol, day
