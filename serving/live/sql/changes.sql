{#- What came of some markets whose trades are after `since` (ms) of each: how many, the newest, when it was validated. -#}
SELECT
    silver.exchange AS exchange,
    silver.symbol AS symbol,
    count() AS trade_count,
    intDiv(max(toUnixTimestamp64Micro(silver.timestamp)), 1000) AS newest,
    max(toUnixTimestamp64Micro(silver.validated_at)) AS validated
FROM silver_trades AS silver
WHERE (silver.exchange, silver.symbol) IN {markets:Array(Tuple(String, String))}
  AND silver.timestamp >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')
GROUP BY exchange, symbol
