-- Raw messages of one exchange with the given offsets that arrived in a span.
{% import '_macros.sql' as sql %}
SELECT toString(_topic) AS raw_topic, _partition AS raw_partition, _offset AS raw_offset,
       toUnixTimestamp64Milli({{ sql.kafka_time('trades_raw.published_at') }}) AS published_ms,
       toValidUTF8(raw_json) AS raw_json
FROM trades_raw
WHERE exchange = {exchange:String}
  AND ingested_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND ingested_at <= fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
  AND _offset IN (SELECT arrayJoin(CAST({offsets:Array(String)} AS Array(UInt64))))
