-- The size of each partition of a hot table: rows, or trades in the candles.
SELECT _partition_id AS partition_id, {{ 'sum(trade_count)' if bucket_seconds else 'count()' }} AS measure
FROM {{ table }}
{% if bucket_seconds %}
WHERE frame = {{ bucket_seconds }}
{% endif %}
GROUP BY partition_id
