-- Dead letters of one exchange, by the Kafka time of their messages, and whether a note resolves them and is
-- confirmed.
{% import '_macros.sql' as sql %}
SELECT
    toString(dead_letter.raw_topic) AS raw_topic,
    toInt64(dead_letter.raw_partition) AS raw_partition,
    toInt64(dead_letter.raw_offset) AS raw_offset,
    toDateTime64({{ sql.kafka_time('dead_letter.published_at') }}, 6, 'UTC') AS published_at,
    toString(any(dead_letter.exchange)) AS exchange,
    toValidUTF8(any(dead_letter.symbol)) AS symbol,
    toValidUTF8(any(dead_letter.trade_id)) AS trade_id,
    toValidUTF8(any(dead_letter.price_text)) AS price_text,
    toValidUTF8(any(dead_letter.quantity_text)) AS quantity_text,
    toValidUTF8(any(dead_letter.timestamp_raw)) AS timestamp_raw,
    toValidUTF8(any(dead_letter.side)) AS side,
    toValidUTF8(any(dead_letter.sequence)) AS sequence,
    toValidUTF8(toString(any(dead_letter.kind))) AS kind,
    toValidUTF8(any(dead_letter.matches)) AS matches,
    toString(argMax(dead_letter.reason, dead_letter.rejected_at)) AS reason,
    max(dead_letter.rejected_at) AS rejected_at,
    toBool(max(resolution.landed != '')) AS is_resolved,
    toBool(max(resolution.is_confirmed = 1)) AS is_confirmed
FROM dlq_trades_log AS dead_letter
LEFT JOIN dlq_resolutions AS resolution USING (raw_topic, raw_partition, raw_offset, published_at)
WHERE dead_letter.exchange = {key:String} AND dead_letter.reason != ''
  AND {{ sql.kafka_time_between('dead_letter.published_at', 'intDiv({from_us:Int64}, 1000)', 'intDiv({to_us:Int64}, 1000)') }}
GROUP BY raw_topic, raw_partition, raw_offset, published_at
