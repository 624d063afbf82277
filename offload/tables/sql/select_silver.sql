-- cold.silver_trades: the rows of silver_trades that were validated in a window.
-- sequence may use all 64 bits, which a long cannot hold.
{% import '_macros.sql' as sql %}
SELECT
    toString(t.exchange) AS exchange,
    toString(t.symbol) AS symbol,
    toValidUTF8(t.trade_id) AS trade_id,
    t.price AS price,
    t.quantity AS quantity,
    t.quote_volume AS quote_volume,
    toDateTime64(t.timestamp, 6, 'UTC') AS timestamp,
    toString(t.side) AS side,
    toDateTime64(t.validated_at, 6, 'UTC') AS validated_at,
    CAST(t.sequence AS Decimal(20, 0)) AS sequence,
    toString(t.trade_kind) AS trade_kind,
    toInt64(t.match_count) AS match_count,
    toString(t.exchange_symbol) AS exchange_symbol,
    toString(t.raw_topic) AS raw_topic,
    toInt64(t.raw_partition) AS raw_partition,
    toInt64(t.raw_offset) AS raw_offset,
    toDateTime64({{ sql.kafka_time('t.published_at') }}, 6, 'UTC') AS published_at,
    toDateTime64(t.received_at, 6, 'UTC') AS received_at,
    toDateTime64(t.ingested_at, 6, 'UTC') AS ingested_at,
    toInt64(t.bronze_partition) AS bronze_partition,
    toInt64(t.bronze_offset) AS bronze_offset,
    toDateTime64({{ sql.kafka_time('t.bronze_published_at') }}, 6, 'UTC') AS bronze_published_at,
    t.insert_token AS insert_token,
    toString(t.rules_version) AS rules_version
FROM {{ hot }} AS t
WHERE t.validated_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND t.validated_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
{% if event_day %}
  AND t.timestamp >= fromUnixTimestamp64Micro({event_from_us:Int64}, 'UTC')
  AND t.timestamp < fromUnixTimestamp64Micro({event_to_us:Int64}, 'UTC')
{% endif %}
{% if partition %}
  AND t.exchange = {key:String}
  AND t.timestamp >= fromUnixTimestamp64Micro({partition_from_us:Int64}, 'UTC')
  AND t.timestamp < fromUnixTimestamp64Micro({partition_to_us:Int64}, 'UTC')
ORDER BY t.symbol, t.timestamp, t.trade_id
{% endif %}
