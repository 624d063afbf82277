-- Raw messages that are in none of Silver, duplicates and DLQ.
-- The grouping by coordinates goes to disk when it exceeds its memory. A set for look-ups could not do that.
{% import '_messages.sql' as messages %}
SELECT
    topic AS raw_topic,
    partition AS raw_partition,
    offset AS raw_offset,
    toUnixTimestamp64Milli(published_at) AS published_ms,
    anyIf(layer_exchange, layer = 'raw') AS raw_exchange,
    anyIf(layer_symbol, layer = 'raw') AS raw_symbol,
    anyIf(layer_trade_id, layer = 'raw') AS raw_trade_id
FROM
(
    {{ messages.all(cold, raw_in_cold, raw_in_hot) }}
)
GROUP BY topic, partition, offset, published_at
HAVING count() = countIf(layer = 'raw')
   AND min(layer_arrived_at) >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
   AND min(layer_arrived_at) < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
ORDER BY raw_topic, raw_partition, raw_offset
LIMIT {at_most:UInt32}
