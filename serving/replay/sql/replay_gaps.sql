{#- The gaps of a window that producers know of and have not filled (µs). -#}
SELECT
    toString(exchange_symbol) AS exchange_symbol,
    toString(state) AS state,
    ids_open,
    toUnixTimestamp64Micro(from_time) AS from_us,
    toUnixTimestamp64Micro(to_time) AS to_us
FROM producer_gaps
WHERE exchange = {exchange:String}
  AND state != 'healed'
  AND from_time < fromUnixTimestamp64Micro({to:Int64}, 'UTC')
  AND to_time > fromUnixTimestamp64Micro({from:Int64}, 'UTC')
  AND (empty({symbols:Array(String)}) OR exchange_symbol IN {symbols:Array(String)})
ORDER BY from_time, exchange_symbol
LIMIT {limit:UInt32}
