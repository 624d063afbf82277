{#- Trades that Silver took in the last `seconds`, and how long each stage took them (s). `since`: no older trade. -#}
SELECT
    exchange,
    count() AS trades,
    count() / {seconds:UInt32} AS trades_per_second,
    arrayMap(x -> round(x, 4), quantilesExact(0.5, 0.99)(producer_seconds)) AS producer,
    arrayMap(x -> round(x, 4), quantilesExact(0.5, 0.99)(raw_seconds)) AS raw,
    arrayMap(x -> round(x, 4), quantilesExact(0.5, 0.99)(bronze_seconds)) AS bronze,
    arrayMap(x -> round(x, 4), quantilesExact(0.5, 0.99)(queue_seconds)) AS silver,
    arrayMap(x -> round(x, 4), quantilesExact(0.5, 0.99)(pipeline_seconds)) AS pipeline
FROM pipeline_latency
WHERE timestamp >= now64(6, 'UTC') - INTERVAL {hours:UInt32} HOUR
  AND validated_at >= now64(6, 'UTC') - INTERVAL {seconds:UInt32} SECOND
GROUP BY exchange
ORDER BY exchange
