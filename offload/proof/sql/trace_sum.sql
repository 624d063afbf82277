-- The row of hot Silver that sums up a match of a market, under any name of it: the sum has one of the ids from the
-- match's to `highest`, and reaches back to the match.
{% import '_macros.sql' as sql %}
SELECT * REPLACE (
    {{ sql.kafka_time('published_at') }} AS published_at,
    {{ sql.kafka_time('bronze_published_at') }} AS bronze_published_at
)
FROM silver_trades
WHERE exchange = {exchange:String}
  AND symbol IN {symbols:Array(String)}
  AND match_count > 1
  AND toUInt64OrZero(trade_id) BETWEEN {number:UInt64} AND {highest:UInt64}
  AND toUInt64OrZero(trade_id) - {number:UInt64} < match_count
ORDER BY toUInt64OrZero(trade_id)
LIMIT 1
