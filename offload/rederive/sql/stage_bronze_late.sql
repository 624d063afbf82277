-- Stage Bronze rows that arrived while a partition was replaced, computed from hot Raw.
{% import '_macros.sql' as sql %}
INSERT INTO bronze_trades_staged ({{ columns | join(', ') }})
SELECT {{ columns | join(', ') }}
FROM
(
{{ view_query }}
)
WHERE ingested_at >= fromUnixTimestamp64Micro({since_us:Int64}, 'UTC')
  AND timestamp >= fromUnixTimestamp64Micro({event_from_us:Int64}, 'UTC')
  AND timestamp < fromUnixTimestamp64Micro({event_to_us:Int64}, 'UTC')
  AND (raw_topic, raw_partition, raw_offset, {{ sql.kafka_time('published_at') }}) NOT IN (
    SELECT raw_topic, raw_partition, raw_offset, {{ sql.kafka_time('published_at') }}
    FROM bronze_trades
    WHERE ingested_at >= fromUnixTimestamp64Micro({since_us:Int64}, 'UTC'))
SETTINGS deduplicate_insert_select = 'disable'
