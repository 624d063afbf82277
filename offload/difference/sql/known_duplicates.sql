-- Counted duplicates of one exchange, by the Kafka time of their messages.
{% import '_macros.sql' as sql %}
SELECT DISTINCT
    toString(raw_topic) AS raw_topic,
    toInt64(raw_partition) AS raw_partition,
    toInt64(raw_offset) AS raw_offset,
    toDateTime64({{ sql.kafka_time('duplicate_trades.published_at') }}, 6, 'UTC') AS published_at,
    toString(symbol) AS symbol,
    toValidUTF8(trade_id) AS trade_id,
    toDateTime64(timestamp, 6, 'UTC') AS timestamp
FROM duplicate_trades
WHERE exchange = {key:String}
  AND {{ sql.kafka_time_between('duplicate_trades.published_at', 'intDiv({from_us:Int64}, 1000)', 'intDiv({to_us:Int64}, 1000)') }}
