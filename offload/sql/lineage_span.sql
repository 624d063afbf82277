-- When the raw messages of some hours of arrival were published, the first and the last, by Kafka's clock.
SELECT toUnixTimestamp64Milli(min(published_at)) AS first_ms, toUnixTimestamp64Milli(max(published_at)) AS last_ms
FROM
(
    SELECT published_at, ingested_at
    FROM trades_raw
    {% for source in cold %}
    UNION ALL
    SELECT CAST(published_at, 'DateTime64(3, \'UTC\')') AS published_at, ingested_at
    FROM
    (
{{ source }}
    )
    {% endfor %}
)
WHERE ingested_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND ingested_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
