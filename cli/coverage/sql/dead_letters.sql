-- Open dead letters by market (the exchange's own symbol), day and reason. A message without a time counts for the day on
-- which it was received. Other versions of a trade that Silver has are left out: they lack no trade.
SELECT
    toString(exchange) AS exchange,
    symbol,
    toDate32(if(timestamp > toDateTime64(0, 6, 'UTC'), timestamp, received_at)) AS day,
    toString(reason) AS reason,
    count() AS dead_letters
FROM dlq_trades
WHERE symbol != '' AND reason NOT IN ('trade_contradicts', 'trade_superseded')
  AND ({exchange:String} = '' OR exchange = {exchange:String})
  AND if(timestamp > toDateTime64(0, 6, 'UTC'), timestamp, received_at) >= toDateTime64({since:String}, 6, 'UTC')
  AND if(timestamp > toDateTime64(0, 6, 'UTC'), timestamp, received_at) < toDateTime64({until:String}, 6, 'UTC')
GROUP BY exchange, symbol, day, reason
