-- The rows of one trade in a hot table, under any name of its market.
SELECT *{{ replaced }}
FROM {{ table }}
WHERE exchange = {exchange:String}
  AND {{ column }} IN {symbols:Array(String)}
  AND trade_id = {trade_id:String}
ORDER BY raw_topic, raw_partition, raw_offset
LIMIT 100
