{#- Trades of some markets after `since` (ms) that were validated from `validated` (µs) on, in the order of the exchange. -#}
{% import '_counting.sql' as counting with context %}
SELECT
    silver.exchange AS exchange,
    silver.symbol AS symbol,
    trade_id,
    toString(silver.price) AS price,
    toString(silver.quantity) AS quantity,
    intDiv(toUnixTimestamp64Micro(silver.timestamp), 1000) AS time,
    silver.side = 'SELL' AS is_buyer_maker
FROM silver_trades AS silver
WHERE (silver.exchange, silver.symbol) IN {markets:Array(Tuple(String, String))}
  AND silver.timestamp >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')
  AND silver.validated_at >= fromUnixTimestamp64Micro({validated:Int64}, 'UTC')
  AND {{ counting.is_counted('silver') }}
ORDER BY silver.timestamp, sequence, trade_id
LIMIT {limit:UInt32}
