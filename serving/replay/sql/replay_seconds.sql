{#- How many raw messages of a window came in each second, and when they were in ClickHouse (µs). -#}
{% import '_raw.sql' as raw %}
SELECT
    intDiv(toUnixTimestamp64Micro(received_at), 1000000) AS second,
    count() AS messages,
    min(toUnixTimestamp64Micro(ingested_at)) AS first_ingested,
    max(toUnixTimestamp64Micro(ingested_at)) AS last_ingested
FROM {{ source }}
WHERE {{ raw.is_in_window() }}
GROUP BY second
ORDER BY second
