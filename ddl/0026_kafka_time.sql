-- Versions before 0.2 stored a Kafka timestamp in another unit than ms unchanged, so duplicates and dead letters of such
-- messages lie in partitions that are no real day. They are copied to the day that `kafka_time` gives. Only copied rows
-- are deleted, so a row that arrives in the meantime stays. On a cluster an INSERT reaches one shard only, so these rows
-- stay where they are, and the durability gate keeps them.
{% if not cluster %}
{% for table in ('duplicate_trades', 'dlq_trades_log') %}
INSERT INTO {{ db }}.{{ table }}
SELECT * REPLACE ({{ sql.kafka_time('stored.published_at') }} AS published_at)
FROM {{ db }}.{{ table }} AS stored
WHERE {{ sql.is_no_kafka_time('stored.published_at') }}
SETTINGS max_partitions_per_insert_block = 0;

ALTER TABLE {{ db }}.{{ table }}
DELETE WHERE {{ sql.is_no_kafka_time('published_at') }}
  AND (raw_topic, raw_partition, raw_offset, {{ sql.kafka_time('published_at') }}) IN (
    SELECT raw_topic, raw_partition, raw_offset, published_at
    FROM {{ db }}.{{ table }})
SETTINGS mutations_sync = 2;
{% endfor %}
{% endif %}
