{#- The Kafka messages of a window, as producers published them: those that are envelopes of ours, once each. -#}
{% import '_raw.sql' as raw %}
SELECT raw_json
FROM {{ source }}
WHERE {{ raw.is_in_window() }}
  AND ingested_at >= fromUnixTimestamp64Micro({first:Int64}, 'UTC')
  AND ingested_at <= fromUnixTimestamp64Micro({last:Int64}, 'UTC')
  AND JSONType(raw_json, 'payload') = 'String'
  AND NOT match(raw_json, '[\\r\\n]')
ORDER BY received_at, {{ place }}
LIMIT 1 BY {{ place }}, published_at
