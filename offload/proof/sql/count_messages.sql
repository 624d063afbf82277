-- The counting proof: each raw message, identified by its coordinates, is in exactly one of Silver, duplicates and DLQ.
-- A message that Kafka delivered twice counts once, in the hour of its first arrival. A Silver row in both tiers
-- counts once. A message of these layers that Raw does not have counts as not in Raw and in no other number. The
-- grouping by coordinates goes to disk when it exceeds its memory.
{% import '_messages.sql' as messages %}
SELECT
    exchange,
    symbol,
    toInt64(toUnixTimestamp(toStartOfHour(arrived_at, 'UTC'))) * 1000000 AS hour_us,
    countIf(deliveries > 0) AS raw,
    countIf(in_silver AND deliveries > 0) AS silver,
    countIf(in_duplicates AND deliveries > 0) AS duplicates,
    countIf(in_dlq AND deliveries > 0) AS dlq,
    countIf(contradicts AND deliveries > 0) AS contradicting,
    countIf(places = 0) AS missing,
    countIf(places > 1 AND deliveries > 0) AS in_several,
    sumIf(deliveries - 1, deliveries > 0) AS redelivered,
    countIf(deliveries = 0) AS not_in_raw
FROM
(
    SELECT
        countIf(layer = 'raw') AS deliveries,
        if(deliveries > 0, anyIf(layer_exchange, layer = 'raw'), any(layer_exchange)) AS exchange,
        if(deliveries > 0, anyIf(layer_symbol, layer = 'raw'), any(layer_symbol)) AS symbol,
        if(deliveries > 0, minIf(layer_arrived_at, layer = 'raw'), min(layer_arrived_at)) AS arrived_at,
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
    HAVING (deliveries > 0
       AND arrived_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
       AND arrived_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC'))
       OR ({{ messages.is_not_in_raw() }})
)
GROUP BY exchange, symbol, hour_us
ORDER BY exchange, symbol, hour_us
