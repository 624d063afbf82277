-- The exchanges that have candles in a partition.
SELECT DISTINCT toString(exchange) AS key
FROM {{ table }}
WHERE _partition_id = {partition:String}
ORDER BY key
