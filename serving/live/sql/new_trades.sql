{#- Trades of some markets after `since` (ms), each market's from when it was validated: `oldest` (µs) has the times, in
    the order of `names`. Without those of `inserts`; insert by insert, each in the order of the exchange. `insert` is a
    market's part of an insert and of a day, whose rows become visible at once. -#}
{% import '_counting.sql' as counting with context %}
SELECT
    silver.exchange AS exchange,
    silver.symbol AS symbol,
    trade_id,
    toString(silver.price) AS price,
    toString(silver.quantity) AS quantity,
    intDiv(toUnixTimestamp64Micro(silver.timestamp), 1000) AS time,
    toUnixTimestamp64Micro(silver.timestamp) AS time_us,
    silver.side = 'SELL' AS is_buyer_maker,
    toUnixTimestamp64Micro(silver.validated_at) AS validated,
    cityHash64(silver.exchange, silver.symbol, silver.insert_token, toDate(silver.timestamp)) AS insert
FROM silver_trades AS silver
WHERE (silver.exchange, silver.symbol) IN {markets:Array(Tuple(String, String))}
  AND silver.timestamp >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')
  -- The first condition alone is cheap, and leaves few rows to the others.
  AND silver.validated_at >= fromUnixTimestamp64Micro(arrayMin({oldest:Array(Int64)}), 'UTC')
  AND toUnixTimestamp64Micro(silver.validated_at) >= transform(concat(silver.exchange, ' ', silver.symbol), {names:Array(String)}, {oldest:Array(Int64)}, toInt64(0))
  AND {{ counting.is_counted('silver') }}
  AND insert NOT IN {inserts:Array(UInt64)}
ORDER BY silver.validated_at, silver.timestamp, sequence, trade_id
LIMIT {limit:UInt32}
