{#- When each market of some exchanges traded last: of its newest trade in Silver (ms). -#}
SELECT
    exchange,
    symbol,
    intDiv(toUnixTimestamp64Micro(last_time), 1000) AS last_time
FROM latest_prices_live
WHERE exchange IN {exchanges:Array(String)}
