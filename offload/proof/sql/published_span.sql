-- The first and last Kafka time of the raw messages that arrived in a span.
{% import '_macros.sql' as sql %}
SELECT toUnixTimestamp64Milli(min(published)) AS first_ms, toUnixTimestamp64Milli(max(published)) AS last_ms
FROM
(
    SELECT {{ sql.kafka_time('published_at') }} AS published, ingested_at
    FROM trades_raw
    {% for source in cold %}
    UNION ALL
    SELECT {{ sql.kafka_time('published_at') }} AS published, ingested_at
    FROM
    (
{{ source }}
    )
    {% endfor %}
)
WHERE ingested_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND ingested_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
