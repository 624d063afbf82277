-- The counting proof: each raw message, identified by its coordinates, is in exactly one of Silver, duplicates and DLQ.
-- A message that Kafka delivered twice counts once, in the hour of its first arrival. A Silver row in both tiers
-- counts once. The grouping by coordinates goes to disk when it exceeds its memory.
{% import '_messages.sql' as messages %}
SELECT
    exchange,
    symbol,
    toInt64(toUnixTimestamp(toStartOfHour(arrived_at, 'UTC'))) * 1000000 AS hour_us,
    count() AS raw,
    countIf(in_silver) AS silver,
    countIf(in_duplicates) AS duplicates,
    countIf(in_dlq) AS dlq,
    countIf(contradicts) AS contradicting,
    countIf(places = 0) AS missing,
    countIf(places > 1) AS in_several,
    sum(deliveries - 1) AS redelivered
FROM
(
    SELECT
        anyIf(layer_exchange, layer = 'raw') AS exchange,
        anyIf(layer_symbol, layer = 'raw') AS symbol,
        minIf(layer_arrived_at, layer = 'raw') AS arrived_at,
        countIf(layer = 'raw') AS deliveries,
        greatest(countIf(layer = 'silver' AND tier = 'hot'), countIf(layer = 'silver' AND tier = 'cold')) AS silver_rows,
        silver_rows > 0 AS in_silver,
        countIf(layer = 'duplicate') > 0 AS in_duplicates,
        countIf(layer = 'dlq') > 0 AS in_dlq,
        countIf(layer_reason = 'trade_contradicts') > 0 AS contradicts,
        silver_rows + in_duplicates + in_dlq AS places
    FROM
    (
        {{ messages.all(cold, raw_in_cold, raw_in_hot) }}
    )
    GROUP BY topic, partition, offset, published_at
    HAVING deliveries > 0
       AND arrived_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
       AND arrived_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
)
GROUP BY exchange, symbol, hour_us
ORDER BY exchange, symbol, hour_us
