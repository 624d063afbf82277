-- Copy the hot Silver rows of the day that the re-derivation does not change: those of other exchanges, and those of hours
-- that are not in Iceberg. Of an hour that was open when it was offloaded, they are the rows that are not in Iceberg, and
-- neither a dead letter nor a duplicate. A row that the re-derivation removed from Silver is one of the latter two.
{% import '_macros.sql' as sql %}
INSERT INTO silver_trades_staged
SELECT *
FROM silver_trades
WHERE timestamp >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND timestamp < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
  AND (exchange NOT IN {keys:Array(String)}
{% if hours %}
       OR toInt64(toUnixTimestamp(toStartOfHour(validated_at, 'UTC'))) NOT IN ({{ hours | join(', ') }})
{% else %}
       OR 1
{% endif %}
{% if open_hours %}
       OR (toInt64(toUnixTimestamp(toStartOfHour(validated_at, 'UTC'))) IN ({{ open_hours | join(', ') }})
           AND (raw_topic, raw_partition, raw_offset, {{ sql.kafka_time('published_at') }}) NOT IN (
{% for table in ('silver_trades_staged', 'dlq_trades_log', 'duplicate_trades') %}
               {{ 'UNION ALL' if not loop.first }}
               SELECT raw_topic, raw_partition, raw_offset, {{ sql.kafka_time('published_at') }}
               FROM {{ table }}
               WHERE exchange IN {keys:Array(String)}
{% endfor %}
           ))
{% endif %}
  )
SETTINGS deduplicate_insert_select = 'disable',
         -- On a cluster: a shard takes the rows by a plain insert, and one statement reads all shards.
         deduplicate_insert = 'disable', parallel_distributed_insert_select = 0
