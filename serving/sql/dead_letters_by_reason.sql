{#- The open dead letters by reason. -#}
SELECT
    toString(reason) AS reason,
    count() AS letters,
    countIf(rejected_at >= now64(6, 'UTC') - INTERVAL 1 HOUR) AS last_hour,
    max(toUnixTimestamp64Milli(toDateTime64(rejected_at, 3, 'UTC'))) AS newest
FROM dlq_trades
GROUP BY reason
ORDER BY letters DESC, reason
