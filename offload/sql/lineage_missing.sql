-- Raw messages that are in none of Silver, duplicates and DLQ: what to look for.
-- Grouping by coordinates goes to disk when it outgrows its memory, as a set to look them up in could not.
WITH
    (
        SELECT (min(published_at), max(published_at))
        FROM trades_raw
        WHERE ingested_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
          AND ingested_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
    ) AS span
SELECT
    raw_topic,
    raw_partition,
    raw_offset,
    toUnixTimestamp64Milli(published_at) AS published_ms,
    anyIf(layer_exchange, is_raw) AS raw_exchange,
    anyIf(layer_symbol, is_raw) AS raw_symbol,
    anyIf(layer_trade_id, is_raw) AS raw_trade_id
FROM
(
    SELECT toString(_topic) AS raw_topic, _partition AS raw_partition, _offset AS raw_offset, published_at,
           exchange AS layer_exchange, symbol AS layer_symbol, trade_id AS layer_trade_id, ingested_at AS arrived_at,
           true AS is_raw
    FROM trades_raw
    WHERE published_at BETWEEN span.1 AND span.2
    UNION ALL
    SELECT toString(raw_topic), raw_partition, raw_offset, published_at, '', '', '', ingested_at, false
    FROM silver_trades
    WHERE published_at BETWEEN span.1 AND span.2
    UNION ALL
    SELECT toString(raw_topic), raw_partition, raw_offset, published_at, '', '', '', seen_at, false
    FROM duplicate_trades
    WHERE published_at BETWEEN span.1 AND span.2
    UNION ALL
    SELECT toString(raw_topic), raw_partition, raw_offset, published_at, '', '', '', ingested_at, false
    FROM dlq_trades
    WHERE published_at BETWEEN span.1 AND span.2
)
GROUP BY raw_topic, raw_partition, raw_offset, published_at
HAVING count() = countIf(is_raw)
   AND min(arrived_at) >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
   AND min(arrived_at) < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
ORDER BY raw_topic, raw_partition, raw_offset
LIMIT {at_most:UInt32}
