-- Messages of Silver, duplicates and DLQ that Raw does not have.
-- The grouping by coordinates goes to disk when it exceeds its memory.
{% import '_messages.sql' as messages %}
SELECT
    topic AS raw_topic,
    partition AS raw_partition,
    offset AS raw_offset,
    toUnixTimestamp64Milli(published_at) AS published_ms,
    any(layer_exchange) AS raw_exchange,
    any(layer_symbol) AS raw_symbol,
    any(layer_trade_id) AS raw_trade_id
FROM
(
    {{ messages.all(cold, raw_in_cold, raw_in_hot) }}
)
GROUP BY topic, partition, offset, published_at
HAVING {{ messages.is_not_in_raw() }}
ORDER BY raw_topic, raw_partition, raw_offset
LIMIT {at_most:UInt32}
