-- The counting proof: each raw message, known by its coordinates, is in exactly one of Silver, duplicates and DLQ.
-- A message that Kafka delivered twice has one pair of coordinates and counts once, in the hour of its first arrival.
-- Grouping by coordinates goes to disk when it outgrows its memory.
WITH
    (
        SELECT (min(published_at), max(published_at))
        FROM trades_raw
        WHERE ingested_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
          AND ingested_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
    ) AS span
SELECT
    exchange,
    symbol,
    toInt64(toUnixTimestamp(toStartOfHour(arrived_at, 'UTC'))) * 1000000 AS hour_us,
    count() AS raw,
    countIf(in_silver) AS silver,
    countIf(in_duplicates) AS duplicates,
    countIf(in_dlq) AS dlq,
    countIf(places = 0) AS missing,
    countIf(places > 1) AS in_several,
    sum(deliveries - 1) AS redelivered
FROM
(
    SELECT
        anyIf(toString(layer_exchange), layer = 'raw') AS exchange,
        anyIf(toString(layer_symbol), layer = 'raw') AS symbol,
        minIf(layer_ingested_at, layer = 'raw') AS arrived_at,
        countIf(layer = 'raw') AS deliveries,
        countIf(layer = 'silver') AS silver_rows,
        silver_rows > 0 AS in_silver,
        countIf(layer = 'duplicate') > 0 AS in_duplicates,
        countIf(layer = 'dlq') > 0 AS in_dlq,
        silver_rows + in_duplicates + in_dlq AS places
    FROM
    (
        SELECT 'raw' AS layer, toString(_topic) AS topic, _partition AS partition, _offset AS offset, published_at,
               exchange AS layer_exchange, symbol AS layer_symbol, ingested_at AS layer_ingested_at
        FROM trades_raw
        WHERE published_at BETWEEN span.1 AND span.2
        UNION ALL
        SELECT 'silver', toString(raw_topic), raw_partition, raw_offset, published_at, '', '', ingested_at
        FROM silver_trades
        WHERE published_at BETWEEN span.1 AND span.2
        UNION ALL
        SELECT 'duplicate', toString(raw_topic), raw_partition, raw_offset, published_at, '', '', seen_at
        FROM duplicate_trades
        WHERE published_at BETWEEN span.1 AND span.2
        UNION ALL
        SELECT 'dlq', toString(raw_topic), raw_partition, raw_offset, published_at, '', '', ingested_at
        FROM dlq_trades
        WHERE published_at BETWEEN span.1 AND span.2
    )
    GROUP BY topic, partition, offset, published_at
    HAVING deliveries > 0
       AND arrived_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
       AND arrived_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
)
GROUP BY exchange, symbol, hour_us
ORDER BY exchange, symbol, hour_us
