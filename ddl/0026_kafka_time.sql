-- Versions before 0.2 took a Kafka timestamp in another unit than ms as it came: duplicates and dead letters of such
-- messages lie in partitions that are no day. They move to the day that `kafka_time` makes of it. What was copied is
-- removed, nothing else: a row that arrives meanwhile stays. On a cluster an INSERT reaches one shard only, so there
-- these rows stay where they are, and the durability gate keeps them.
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
