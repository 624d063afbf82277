-- Trades of hot Silver by exchange and trade id. Rows of the day whose hour is in Iceberg are left out, since
-- they are compared in Iceberg.
{% import '_macros.sql' as sql %}
SELECT DISTINCT
    toString(exchange) AS exchange,
    toString(symbol) AS symbol,
    trade_id,
    price,
    quantity,
    timestamp,
    toString(side) AS side,
    toString(trade_kind) AS trade_kind,
    toInt64(match_count) AS match_count,
    toString(raw_topic) AS raw_topic,
    toInt64(raw_partition) AS raw_partition,
    toInt64(raw_offset) AS raw_offset,
    toDateTime64({{ sql.kafka_time('silver_trades.published_at') }}, 6, 'UTC') AS published_at,
{% if open_hours %}
    toBool(toInt64(toUnixTimestamp(toStartOfHour(validated_at, 'UTC'))) IN ({{ open_hours | join(', ') }})
{% else %}
    toBool(0
{% endif %}
    ) AS is_open
FROM silver_trades
WHERE exchange = {key:String} AND trade_id IN {ids:Array(String)}
{% if hours %}
  AND NOT (timestamp >= fromUnixTimestamp64Micro({event_from_us:Int64}, 'UTC')
           AND timestamp < fromUnixTimestamp64Micro({event_to_us:Int64}, 'UTC')
           AND toInt64(toUnixTimestamp(toStartOfHour(validated_at, 'UTC'))) IN ({{ hours | join(', ') }}))
{% endif %}
