-- The rows of one trade in a hot table, under any name of its market; or (`place`) those of one raw message.
{% import '_macros.sql' as sql %}
SELECT * REPLACE (
{% for column in kafka_times %}
    {{ sql.kafka_time(column) }} AS {{ column }}{{ ',' if not loop.last }}
{% endfor %}
)
FROM {{ table }}
{% if place %}
WHERE raw_topic = {raw_topic:String} AND raw_partition = {raw_partition:UInt32} AND raw_offset = {raw_offset:UInt64}
  AND {{ sql.kafka_time('published_at') }} = fromUnixTimestamp64Milli({published_ms:Int64}, 'UTC')
{% else %}
WHERE exchange = {exchange:String}
  AND {{ column }} IN {symbols:Array(String)}
  AND trade_id = {trade_id:String}
{% endif %}
ORDER BY raw_topic, raw_partition, raw_offset
LIMIT 100
