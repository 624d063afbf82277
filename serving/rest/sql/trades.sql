{#- Trades of a market that candles count, `direction` from the first or from the last; `from_id`: ids that are numbers,
    from this one on; 0: any. Times in µs since the epoch; `until` is exclusive. -#}
{% import '_counting.sql' as counting with context %}
SELECT
    trade_id,
    toString(price) AS price,
    toString(quantity) AS quantity,
    toString(quote_volume) AS quote_volume,
    toUnixTimestamp64Micro(timestamp) AS time,
    side = 'SELL' AS is_buyer_maker,
    match_count
FROM silver_trades AS silver
WHERE exchange = {exchange:String}
  AND symbol = {symbol:String}
  AND timestamp >= fromUnixTimestamp64Micro({from:Int64}, 'UTC')
  AND timestamp < fromUnixTimestamp64Micro({until:Int64}, 'UTC')
  AND ({from_id:UInt64} = 0 OR toUInt64OrZero(trade_id) >= {from_id:UInt64})
  AND {{ counting.is_counted('silver') }}
ORDER BY silver.timestamp {{ direction }}, sequence {{ direction }}, trade_id {{ direction }}
LIMIT {limit:UInt32}
