-- What a hot table holds of each partition: rows, or trades in the candles.
SELECT _partition_id AS partition_id, {{ 'sum(trade_count)' if gold else 'count()' }} AS measure
FROM {{ table }}
GROUP BY partition_id
